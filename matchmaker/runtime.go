package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"skua/internal/blob"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/rootarchive"
	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/server"
)

const runtimeLong = `A runtime root is an archive with the programs and libraries that a job sees in place of the machine's. Users
bring their own, or name one that the pool has: runtime_root = pool:debian12

  debootstrap --variant=minbase --include=python3-numpy bookworm debian12
  tar --zstd -cf debian12.tar.zst -C debian12 usr bin sbin lib lib64 etc
  skua-matchmaker runtime add debian12 debian12.tar.zst

A job keeps the archive that the name had when it was submitted, whatever becomes of the name. With several
matchmakers give the commands at any one of them.`

const makeRuntime = "an archive is made of the directory tree of a system, without a directory around it: tar --zstd -cf debian12.tar.zst -C debian12 usr bin sbin lib lib64 etc"

func runtimeCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "runtime",
		Short: "keep runtime roots that jobs can name",
		Long:  runtimeLong,
		Args:  cli.NoArgs,
		RunE:  cli.Help,
	}
	c.AddCommand(runtimeAddCommand(f), &cobra.Command{
		Use:   "list",
		Short: "list the pool's runtime roots",
		Long:  `Lists the names, with the size of each archive and of what machines unpack of it. Users see them with "skua runtimes".`,
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminRuntimes})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSIZE\tUNPACKED\tDIGEST\tADDED\tBY")
			for _, r := range a.Runtimes {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, megabytes(r.Size), megabytes(r.Unpacked), r.Digest.Short(), r.Added.Local().Format(time.DateTime), r.By)
			}
			return w.Flush()
		},
	}, &cobra.Command{
		Use:   "remove NAME",
		Short: "have no further jobs name a runtime root",
		Long: `Jobs that are in the queue keep the archive that they have. It goes when no job and no other name needs it
any more.`,
		Args: oneArg("the name of a runtime root"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := ask(c, f, server.AdminRequest{Do: server.AdminRemoveRuntime, Runtime: wire.RuntimeRow{Name: args[0]}}); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: removed; jobs that are in the queue keep it\n", args[0])
			return nil
		},
	})
	return c
}

func runtimeAddCommand(f *flags) *cobra.Command {
	var replace bool
	c := &cobra.Command{
		Use:   "add NAME ARCHIVE",
		Short: "put an archive into the pool, for jobs to name",
		Long: `Looks whether machines can unpack the archive, brings it to the file service and gives it the name. An
archive is tar, plain or compressed with zstd or gzip.`,
		Example: `  skua-matchmaker runtime add debian12 debian12.tar.zst
  skua-matchmaker runtime add debian12 debian12-new.tar.zst --replace    jobs in the queue keep the old one`,
		Args: twoArgs("a name and an archive"),
		RunE: func(c *cobra.Command, args []string) error {
			return addRuntime(c, f, args[0], args[1], replace)
		},
	}
	c.Flags().BoolVar(&replace, "replace", false, "also if there is another one of that name")
	return c
}

func addRuntime(c *cobra.Command, f *flags, name, path string, replace bool) error {
	if err := job.CheckRuntimeName(name); err != nil {
		return err
	}
	if _, err := ask(c, f, server.AdminRequest{Do: server.AdminRuntimes}); err != nil { // is there a matchmaker?
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return &diag.Problem{What: err.Error(), Hint: makeRuntime, Err: err}
	}
	defer file.Close()
	r, err := readRuntime(c.Context(), file, progress(c.ErrOrStderr(), "checking"))
	if err != nil {
		return err
	}
	r.Name, r.By = name, os.Getenv("SUDO_USER")
	request := server.AdminRequest{Do: server.AdminStoreRuntime, Runtime: r, Replace: replace}
	a, err := ask(c, f, request)
	if err != nil {
		return err
	}
	if a.Store != nil {
		if err := storeRuntime(c.Context(), a.Store, file, r, progress(c.ErrOrStderr(), "storing")); err != nil {
			return err
		}
	}
	request.Do = server.AdminAddRuntime
	if a, err = ask(c, f, request); err != nil {
		return err
	}
	if !a.Changed {
		fmt.Fprintf(c.OutOrStdout(), "%s: has not changed\n", name)
		return nil
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %s, %s when unpacked, %s\n", name, megabytes(r.Size), megabytes(r.Unpacked), r.Digest.Short())
	if r.Unpacked > rootarchive.DefaultRoom {
		fmt.Fprintf(c.ErrOrStderr(), "skua-matchmaker: machines keep %s of runtime roots, unless agent.toml says otherwise: runtimes = \"%dGB\"\n",
			megabytes(rootarchive.DefaultRoom), r.Unpacked/1e9+1)
	}
	return nil
}

// readRuntime looks whether machines can unpack an archive, and gives its digest and sizes.
func readRuntime(ctx context.Context, file *os.File, tell transfer.Progress) (r wire.RuntimeRow, err error) {
	refuse := func(err error) error {
		return &diag.Problem{What: fmt.Sprintf("%s cannot be a runtime root: %v", file.Name(), err), Hint: makeRuntime, Err: err}
	}
	st, err := file.Stat()
	switch {
	case err != nil:
		return r, err
	case !st.Mode().IsRegular():
		return r, refuse(errors.New("it is no plain file"))
	}
	r.Unpacked, err = rootarchive.Walk(ctx, &watched{file, st.Size(), 0, tell}, func(rootarchive.Entry) error { return nil })
	tell(st.Size(), st.Size())
	if errors.Is(err, rootarchive.ErrBad) {
		return r, refuse(err)
	}
	if err != nil {
		return r, err
	}
	if _, err = file.Seek(0, io.SeekStart); err == nil {
		r.Digest, r.Size, err = blob.SumReader(file)
	}
	return r, err
}

// storeRuntime brings an archive to the file service of the matchmaker on this machine.
func storeRuntime(ctx context.Context, s *server.Store, file *os.File, r wire.RuntimeRow, tell transfer.Progress) error {
	cfg, err := trust.ClientTLS(s.Fingerprint)
	if err != nil {
		return err
	}
	web := transfer.NewHTTP(cfg)
	defer web.CloseIdleConnections()
	service, err := transfer.New(transfer.Config{BaseURL: s.URL, HTTP: web})
	if err != nil {
		return err
	}
	err = service.Put(ctx, s.Capability, r.Digest, r.Size, file, tell)
	if errors.Is(err, blob.ErrMismatch) {
		return &diag.Problem{What: fmt.Sprintf("%s changes while it is read", file.Name()), Hint: "try again when it is finished", Err: err}
	}
	return err
}

// watched is a reader that tells how far it is.
type watched struct {
	io.Reader
	total, done int64
	tell        transfer.Progress
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.done += int64(n)
	w.tell(w.done, w.total)
	return n, err
}

// progress says on a terminal how far something is; elsewhere it says nothing.
func progress(w io.Writer, what string) transfer.Progress {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int64, int64) {}
	}
	var shown time.Time
	return func(done, total int64) {
		switch {
		case done >= total:
			fmt.Fprint(w, "\r\x1b[K")
		case time.Since(shown) > 100*time.Millisecond:
			shown = time.Now()
			fmt.Fprintf(w, "\r%s %3d%% of %s\x1b[K", what, 100*done/total, megabytes(total))
		}
	}
}

// megabytes writes a size for people.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
