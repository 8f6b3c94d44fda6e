package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"skua/submit/client"
)

// listing is what a command does that prints all of something that the pool has.
type listing[R any] struct {
	none string // what is said when there is nothing
	rows func(*client.Client, context.Context) ([]R, error)
	show func([]R) *table
}

// of makes c do so: as a table, or as JSON with --json.
func (l listing[R]) of(a *app, c *cobra.Command) *cobra.Command {
	asJSON := c.Flags().Bool("json", false, "print them as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		pool, _, err := a.connect(c.Context())
		if err != nil {
			return err
		}
		defer pool.Close()
		rows, err := l.rows(pool, c.Context())
		switch {
		case err != nil:
			return err
		case *asJSON:
			return json.NewEncoder(a.out).Encode(append([]R{}, rows...))
		case len(rows) == 0:
			fmt.Fprintln(a.out, l.none)
			return nil
		}
		return l.show(rows).write(a.out)
	}
	return c
}
