package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/diag"
	"skua/submit/client"
	"skua/submit/courier"
)

// courierCommand is what runs in the background. Nobody needs to type it.
func (a *app) courierCommand() *cobra.Command {
	return &cobra.Command{
		Use: "courier", Short: "write logs and bring outputs, in the background", Hidden: true, Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			home, err := client.UserHome()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(a.err, nil))
			log.Info("courier starts", "version", version)
			err = courier.Serve(c.Context(), home, log)
			switch {
			case errors.Is(err, context.Canceled):
				err = nil
			case errors.Is(err, courier.ErrReplaced):
				log.Info("the program has been replaced; its new version goes on")
				a.startCourier(home)
				err = nil
			}
			if err != nil {
				log.Error("courier ends", diag.KeyError, err)
			} else {
				log.Info("courier ends")
			}
			return err
		},
	}
}
