package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

// Output writes one output of a job that has completed, called name in its scratch directory, to the file
// at path. It fails with [ErrNoOutputs] when the job has no output of that name, or not yet.
func (c *Client) Output(ctx context.Context, id job.ID, name, path string) error {
	asked := time.Now()
	res, err := c.query(ctx, wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}})
	if err != nil {
		return err
	}
	if len(res.Rows) == 0 {
		return ErrNoOutputs
	}
	var row wire.JobRow
	if err := json.Unmarshal(res.Rows[0], &row); err != nil {
		return fmt.Errorf("read the outputs of job %v: %w", id, err)
	}
	for _, f := range row.Outputs {
		switch {
		case f.Name != name:
			continue
		case f.Digest == "" && int64(len(f.Inline)) != f.Size:
			return errors.New("it came without its content")
		case f.Digest == "":
			return os.WriteFile(path, f.Inline, 0o600)
		}
		files, err := c.fileService()
		if err != nil {
			return err
		}
		pass := &pass{client: c, query: wire.Query{Kind: wire.QueryFetch, Select: noJobs}, capability: res.Capability, asked: asked}
		return pass.use(ctx, func(capability string) error {
			_, err := files.GetFile(ctx, capability, f.Digest, path, 0o600, nil)
			return err
		})
	}
	return ErrNoOutputs
}
