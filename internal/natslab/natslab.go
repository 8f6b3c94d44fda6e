// Package natslab is TEST ONLY: a NATS cluster of real nats-server processes on loopback, such as a pool with several
// matchmakers stands on.
//
// The server is built from the module that the matchmaker embeds. Each one has JetStream with a store of its own that
// is synced always, and takes members and leaf nodes with one NKey. Servers can be killed and started again; all have
// ended when [Cluster.Close] returns.
package natslab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"skua/internal/child"
	"skua/internal/trust"
)

// Build builds nats-server into the directory bin.
func Build(ctx context.Context, bin string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, program), "github.com/nats-io/nats-server/v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return nil
}

const program = "nats-server"

// Cluster is a running cluster.
type Cluster struct {
	Servers []*Server
	NKey    string // path of the file with the seed with which to sign in
}

// Server is one of a cluster's servers.
type Server struct {
	Name               string
	client, leaf, peer string // host:port
	config, log        string // paths
	bin                string
	cmd                *exec.Cmd
	ended              <-chan struct{} // closed when the process has ended
}

// Start starts n servers from the program in bin, with everything that they write below dir, and returns when each
// takes connections. Whether they have chosen a leader for a stream, its first use shows.
func Start(ctx context.Context, bin, dir string, n int) (_ *Cluster, err error) {
	c := &Cluster{NKey: filepath.Join(dir, "nats.nk")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	id, err := trust.CreateIdentity(c.NKey)
	if err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(3 * n)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range n {
		s := &Server{Name: fmt.Sprintf("n%d", i+1), bin: filepath.Join(bin, program), client: addresses[3*i], leaf: addresses[3*i+1], peer: addresses[3*i+2]}
		s.config, s.log = filepath.Join(dir, s.Name+".conf"), filepath.Join(dir, s.Name+".log")
		routes = append(routes, `"nats://`+s.peer+`"`)
		c.Servers = append(c.Servers, s)
	}
	for _, s := range c.Servers {
		text := fmt.Sprintf(config, s.Name, s.client, filepath.Join(dir, s.Name), s.leaf, id.PublicKey(), s.peer, strings.Join(routes, ", "))
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for _, s := range c.Servers {
		if err := s.start(); err != nil {
			return nil, err
		}
	}
	for _, s := range c.Servers {
		if err := s.Await(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// config is that of docs/operations.md, but for TLS.
const config = `server_name: %s
listen: "%s"
max_payload: 512KB
jetstream { store_dir: %q, sync_interval: always, max_memory_store: 64MB, max_file_store: 8GB }
leafnodes { listen: "%s" }
accounts {
  SKUA { jetstream: enabled, users: [ { nkey: %s } ] }
}
cluster { name: skua, listen: "%s", routes: [ %s ] }
`

// freeAddresses gives addresses of loopback that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all of them are different
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// URLs are where clients connect.
func (c *Cluster) URLs() []string {
	var all []string
	for _, s := range c.Servers {
		all = append(all, "nats://"+s.client)
	}
	return all
}

// LeafURLs are where leaf nodes connect.
func (c *Cluster) LeafURLs() []string {
	var all []string
	for _, s := range c.Servers {
		all = append(all, "nats://"+s.leaf)
	}
	return all
}

// Close kills all servers.
func (c *Cluster) Close() {
	for _, s := range c.Servers {
		s.Kill()
	}
}

func (s *Server) start() error {
	log, err := os.OpenFile(s.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.bin, "-c", s.config)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// It is killed, or its log says why it ended.
	if s.ended, err = child.Start(s.cmd, syscall.SIGKILL); err != nil {
		s.cmd = nil
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	return nil
}

// Await waits until the server takes connections.
func (s *Server) Await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var d net.Dialer
	for {
		if conn, err := d.DialContext(ctx, "tcp", s.client); err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New(s.Name + " has ended:\n" + s.Log())
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w", s.Name, ctx.Err())
		}
	}
}

// Kill ends the server's process with SIGKILL, if it runs.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// Restart starts a server that has been killed again, and waits until it takes connections.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	return s.Await(ctx)
}

// Log is what the server has written to its log.
func (s *Server) Log() string {
	data, _ := os.ReadFile(s.log) // for people
	return string(data)
}
