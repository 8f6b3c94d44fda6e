package checkpoint

import (
	"errors"
	"fmt"
	"os"

	"github.com/checkpoint-restore/go-criu/v6/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// maxAnswer bounds a message of CRIU's, which is a few hundred bytes.
const maxAnswer = 64 << 10

// request has the criu program at path carry out one request and calls notify, if that is not nil, for each step
// that it reports. It speaks the protocol of go-criu, of which only the messages are used: that starts CRIU in
// a way that older kernels do not allow here, see [start].
func request(path string, kind rpc.CriuReqType, opts *rpc.CriuOpts, notify func(*rpc.CriuNotify)) (err error) {
	pair, err := unix.Socketpair(unix.AF_LOCAL, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "criu"), os.NewFile(uintptr(pair[1]), "criu")
	defer ours.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		theirs.Close()
		return err
	}
	pid, err := start(path, []string{path, "swrk", "3"}, os.Environ(), []*os.File{null, null, null, theirs})
	theirs.Close()
	null.Close()
	if err != nil {
		return err
	}
	defer func() {
		ours.Close() // which ends it
		if _, werr := reap(pid); err == nil && werr != nil && werr != unix.ECHILD {
			err = os.NewSyscallError("wait", werr)
		}
	}()

	opts.NotifyScripts = proto.Bool(true)
	req := &rpc.CriuReq{Type: &kind, Opts: opts}
	for {
		resp, err := exchange(ours, req)
		if err != nil {
			return err
		}
		got := resp.GetType()
		switch {
		case !resp.GetSuccess():
			return fmt.Errorf("operation failed (%s, error %d)", clause(resp.GetCrErrmsg()), resp.GetCrErrno())
		case got == kind:
			return nil
		case got != rpc.CriuReqType_NOTIFY:
			return fmt.Errorf("criu answers %v with %v", kind, got)
		}
		if notify != nil {
			notify(resp.GetNotify())
		}
		req = &rpc.CriuReq{Type: &got, NotifySuccess: proto.Bool(true)}
	}
}

func exchange(conn *os.File, req *rpc.CriuReq) (*rpc.CriuResp, error) {
	b, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	b = make([]byte, maxAnswer)
	n, err := conn.Read(b)
	if err != nil {
		return nil, errors.Join(errors.New("criu has ended without an answer"), err)
	}
	resp := new(rpc.CriuResp)
	if err := proto.Unmarshal(b[:n], resp); err != nil {
		return nil, err
	}
	return resp, nil
}
