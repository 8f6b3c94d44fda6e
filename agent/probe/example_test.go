package probe_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"skua/agent/probe"
)

func ExampleWatcher() {
	w, err := probe.NewWatcher(probe.WatchConfig{
		OnActive: func(a probe.Active) { fmt.Println("freeze the jobs: input on", a.Source) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println("stopped watching:", w.Run(ctx))
}

func ExampleFacts() {
	ad, err := probe.Facts(context.Background(), probe.FactsConfig{ExecuteDir: "/var/lib/skua"})
	if err != nil {
		fmt.Println("left out:", err)
	}
	fmt.Println(ad)
}
