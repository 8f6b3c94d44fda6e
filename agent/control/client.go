package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"skua/internal/diag"
)

// Client asks the agent behind a socket.
type Client struct{ Path string }

// Status asks what the agent does.
func (c Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "/status", nil, &s)
}

// Ran asks what ran here, the newest last.
func (c Client) Ran(ctx context.Context) (list []Ran, err error) {
	return list, c.ask(ctx, http.MethodGet, "/ran", nil, &list)
}

// Wish asks for something, and gives the agent's state after it.
func (c Client) Wish(ctx context.Context, a Ask) (s Status, err error) {
	return s, c.ask(ctx, http.MethodPost, "/wish", a, &s)
}

// mostAnswer bounds what is read: the list of what ran is bounded by the agent.
const mostAnswer = 8 << 20

func (c Client) ask(ctx context.Context, method, path string, send, into any) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, c.Path)
		},
	}
	body, err := json.Marshal(send)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		no := refusal{What: "the agent answered " + resp.Status}
		_ = json.Unmarshal(data, &no) // else the status must do
		return &diag.Problem{What: no.What, Hint: no.Hint}
	}
	return json.Unmarshal(data, into)
}

func (c Client) unreachable(err error) error {
	p := &diag.Problem{
		What: "the agent does not answer on " + c.Path + ": " + err.Error(), Err: err,
		Hint: "skua-agent service status says whether it runs",
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		p.What = "no agent runs on this machine: nothing listens on " + c.Path
		p.Hint = "start it with: skua-agent service start"
	}
	return p
}
