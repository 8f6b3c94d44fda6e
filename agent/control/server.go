package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"skua/internal/diag"
)

// Agent is what is controlled.
type Agent interface {
	Status(now time.Time) Status
	Heed(Wish)           // the zero Wish takes back the one before
	Ran() ([]Ran, error) // what ran here, the newest last
	MayPause() time.Duration
}

// Server answers on a socket or pipe.
type Server struct {
	Agent  Agent
	Seated func() []uint32 // who sits at the machine now, as [Peer.Seat] says it
	Log    *slog.Logger
}

type connKey struct{}

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
			return context.WithValue(ctx, connKey{}, c)
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
	return Rights{Seated: s.Seated(), MayPause: s.Agent.MayPause()}
}

// asks is who has sent a request. It is asked for only now, since Windows does not tell before something was read.
func (s *Server) asks(r *http.Request) (Peer, error) {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	who, err := peerOf(c)
	if err != nil {
		s.Log.Warn("who asks the agent cannot be told", diag.KeyError, err)
		return Peer{}, &diag.Problem{What: "the system does not tell who asks: " + err.Error(), Err: err}
	}
	return who, nil
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	who, err := s.asks(r)
	if err != nil {
		answer(w, s.Agent.Status(time.Now())) // for nobody in particular
		return
	}
	answer(w, s.statusFor(who))
}

// statusFor is what the agent does, with what who asks may do about it.
func (s *Server) statusFor(who Peer) Status {
	st := s.Agent.Status(time.Now())
	st.YouMayPause = s.rights().most(who)
	return st
}

func (s *Server) ran(w http.ResponseWriter, r *http.Request) {
	who, err := s.asks(r)
	if err != nil {
		refuse(w, err)
		return
	}
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
	who, err := s.asks(r)
	if err != nil {
		refuse(w, err)
		return
	}
	var ask Ask
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostAsk)).Decode(&ask); err != nil {
		refuse(w, &diag.Problem{What: "what was asked cannot be read: " + err.Error(), Err: err})
		return
	}
	now := time.Now()
	wish, err := s.rights().Decide(who, ask, s.Agent.Status(now).Wish, now)
	if err != nil {
		s.Log.Info("control refused", "user", who.Name, "ask", ask.Kind, diag.KeyError, err)
		refuse(w, err)
		return
	}
	s.Agent.Heed(wish)
	s.Log.Info("control", "user", who.Name, "ask", ask.Kind, "until", wish.Until)
	answer(w, s.statusFor(who))
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
