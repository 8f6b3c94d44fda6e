// Anysystem sums a long series, and saves its state when it is asked to leave: on Linux and on Windows, so that it may
// begin on one and go on on the other.
//
// Asked to leave, by SIGTERM or, on Windows, by CTRL_C, which Go shows as an interrupt, it writes where it is to
// state.json and ends with exit code 85: "I am not finished, start me again". Started again it finds that file and goes
// on. What it computes is the same on both systems to the last bit.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

const (
	stateFile = "state.json"
	saved     = 85 // the exit code that the description announces
	report    = 100
)

// state is all that is needed to go on. Who goes on from it keeps the nonce, who begins again draws a new one.
type state struct {
	Nonce string  `json:"nonce"`
	Step  int     `json:"step"`
	Sum   float64 `json:"sum"`
	Next  int     `json:"next"`
}

func main() {
	steps := flag.Int("steps", 2000, "how long to go on")
	terms := flag.Int("terms", 5_000_000, "of the series, in each step")
	pace := flag.Duration("pace", 0, "time that a step takes at least")
	journal := flag.String("journal", "", "file that gets a line \"NONCE STEP SYSTEM\" at every step")
	flag.Parse()
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, os.Interrupt, syscall.SIGTERM)
	code, err := run(job{*steps, *terms, *pace, *journal}, leave)
	if err != nil {
		fmt.Fprintln(os.Stderr, "anysystem:", err)
		code = 1
	}
	os.Exit(code)
}

// job is what the arguments ask for.
type job struct {
	steps, terms int
	pace         time.Duration
	journal      string
}

// run goes on until all is done, or somebody wants the program to leave.
func run(j job, leave <-chan os.Signal) (code int, err error) {
	s, err := load()
	if err != nil {
		return 0, err
	}
	if s.Step > 0 {
		fmt.Fprintln(os.Stderr, "going on after step", s.Step, "on", runtime.GOOS)
	}
	for s.Step < j.steps {
		pause := time.After(j.pace)
		for range j.terms {
			s.Sum += 1 / (float64(s.Next) * float64(s.Next))
			s.Next++
		}
		s.Step++
		if s.Step%report == 0 {
			fmt.Printf("step %d: %v\n", s.Step, s.Sum)
		}
		if err := note(j.journal, s); err != nil {
			return 0, err
		}
		if s.Step == j.steps {
			break
		}
		<-pause
		select {
		case <-leave:
			return saved, s.save()
		default:
		}
	}
	fmt.Printf("sum of 1/k^2 for k up to %d = %v\n", s.Next-1, s.Sum)
	return 0, nil
}

// load gives the state that an earlier run has saved, or that of a beginning.
func load() (state, error) {
	s := state{Nonce: rand.Text(), Next: 1}
	data, err := os.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// save writes the state so that there is always a whole one.
func (s state) save() error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stateFile+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(stateFile+".new", stateFile)
}

// note writes a line about the step that was done.
func note(journal string, s state) error {
	if journal == "" {
		return nil
	}
	f, err := os.OpenFile(journal, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, s.Nonce, s.Step, runtime.GOOS)
	return errors.Join(err, f.Close())
}
