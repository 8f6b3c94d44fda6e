package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"skua/internal/diag"
	"skua/internal/peer"
)

// Agent is what is controlled.
type Agent interface {
	Status(now time.Time) Status
	Heed(Wish) error     // the zero Wish takes back the one before
	Ran() ([]Ran, error) // what ran here, the newest last
	MayPause() time.Duration
}

// Server answers on a socket.
type Server struct {
	Agent  Agent
	Seated func() []uint32 // users who sit at the machine now
	Log    *slog.Logger
}

// Listen makes the socket, in the place of one that an agent before has left. Everybody may connect;
// what they may ask for is another question.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the control socket of an agent before: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

type peerKey struct{}

// Bounds of a conversation: it is short, or somebody plays.
const (
	mostAsk = 4 << 10
	patient = 10 * time.Second
)

// Serve answers until ctx ends. The listener is closed then.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /ran", s.ran)
	mux.HandleFunc("POST /wish", s.wish)
	srv := &http.Server{
		Handler:     mux,
		ReadTimeout: patient, WriteTimeout: patient, IdleTimeout: patient, MaxHeaderBytes: mostAsk,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			who, err := peer.Of(c)
			if err != nil {
				s.Log.Warn("control socket", diag.KeyError, err)
				c.Close()
			}
			return context.WithValue(ctx, peerKey{}, Peer{UID: who.UID, Name: userName(who.UID)})
		},
	}
	stopped := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(stopped)
		srv.Close()
	})
	err := srv.Serve(l)
	if end() { // it failed by itself
		srv.Close()
		return err
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) rights() Rights {
	return Rights{Admin: uint32(os.Geteuid()), Seated: s.Seated(), MayPause: s.Agent.MayPause()}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, s.Agent.Status(time.Now()))
}

func (s *Server) ran(w http.ResponseWriter, r *http.Request) {
	who, _ := r.Context().Value(peerKey{}).(Peer)
	if !s.rights().MayRead(who) {
		refuse(w, &diag.Problem{
			What: fmt.Sprintf("%s does not sit at this machine", who.Name),
			Hint: "only the person at its screen and keyboard, or an administrator, may see what ran here",
		})
		return
	}
	list, err := s.Agent.Ran()
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, list)
}

func (s *Server) wish(w http.ResponseWriter, r *http.Request) {
	who, _ := r.Context().Value(peerKey{}).(Peer)
	var ask Ask
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostAsk)).Decode(&ask); err != nil {
		refuse(w, &diag.Problem{What: "what was asked cannot be read: " + err.Error(), Err: err})
		return
	}
	wish, err := s.rights().Decide(who, ask, time.Now())
	if err == nil {
		err = s.Agent.Heed(wish)
	}
	if err != nil {
		s.Log.Info("control refused", "user", who.Name, "ask", ask.Kind, diag.KeyError, err)
		refuse(w, err)
		return
	}
	s.Log.Info("control", "user", who.Name, "ask", ask.Kind, "until", wish.Until)
	answer(w, s.Agent.Status(time.Now()))
}

// userName is what people call a user.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked has gone
}

// refusal is how an error travels.
type refusal struct {
	What string `json:"what"`
	Hint string `json:"hint,omitempty"`
}

func refuse(w http.ResponseWriter, err error) {
	no := refusal{What: err.Error()}
	if p, ok := errors.AsType[*diag.Problem](err); ok {
		no.Hint = p.Hint
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(no)
}
