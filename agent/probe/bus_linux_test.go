package probe

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"skua/policy/classad"
)

func TestIsInhibited(t *testing.T) {
	const own = 77
	for _, tt := range []struct {
		name string
		list []inhibitor
		want bool
	}{
		{"nobody", nil, false},
		{"delays", []inhibitor{{"sleep", "NetworkManager", "turns off networks", "delay", 0, 5}}, false},
		{"a film", []inhibitor{{"idle", "firefox", "video-playing", "block", 1000, 5}}, true},
		{"a backup", []inhibitor{{"shutdown:sleep:idle", "borg", "backup", "block", 0, 5}}, true},
		{"softly", []inhibitor{{"sleep", "gnome", "user", "block-weak", 1000, 5}}, true},
		{"keys only", []inhibitor{{"handle-power-key:handle-lid-switch", "PowerDevil", "handles it", "block", 1000, 5}}, false},
		{"a shutdown only", []inhibitor{{"shutdown", "dnf", "upgrade", "block", 0, 5}}, false},
		{"ourselves", []inhibitor{{"sleep", "Skua", "a job runs", "block", 0, own}}, false},
	} {
		if got := isInhibited(tt.list, own); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestMeteredOf(t *testing.T) {
	for v, want := range map[uint32]maybe[bool]{0: {}, 1: known(true), 2: known(false), 3: known(true), 4: known(false), 9: {}} {
		if got := meteredOf(v); got != want {
			t.Errorf("%d is %+v, want %+v", v, got, want)
		}
	}
}

func TestConcerns(t *testing.T) {
	changed := func(of string, values map[string]dbus.Variant, names []string) *dbus.Signal {
		return &dbus.Signal{Name: busProperties + ".PropertiesChanged", Body: []any{of, values, names}}
	}
	for _, tt := range []struct {
		signal              *dbus.Signal
		inhibitors, network bool
	}{
		{nil, false, false},
		{&dbus.Signal{Name: "x"}, false, false},
		{&dbus.Signal{Name: busDriver + ".NameOwnerChanged", Body: []any{logindName, "", ":1.5"}}, true, false},
		{&dbus.Signal{Name: busDriver + ".NameOwnerChanged", Body: []any{networkName, ":1.5", ""}}, false, true},
		{changed(logindManager, map[string]dbus.Variant{"BlockInhibited": dbus.MakeVariant("idle")}, nil), true, false},
		{changed(logindManager, map[string]dbus.Variant{"IdleHint": dbus.MakeVariant(true)}, nil), false, false},
		{changed(networkName, nil, []string{"Metered"}), false, true},
		{changed(networkName, map[string]dbus.Variant{"State": dbus.MakeVariant(uint32(70))}, nil), false, false},
		{&dbus.Signal{Name: busProperties + ".PropertiesChanged", Body: []any{networkName, 7, "Metered"}}, false, false},
		{&dbus.Signal{Name: busProperties + ".PropertiesChanged", Body: []any{networkName}}, false, false},
	} {
		inhibitors, network := concerns(tt.signal)
		if inhibitors != tt.inhibitors || network != tt.network {
			t.Errorf("%v concerns inhibitors %v, network %v", tt.signal, inhibitors, network)
		}
	}
}

// startBus starts a real bus of the test's own.
func startBus(t *testing.T) (address string) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("dbus-daemon is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	err := os.WriteFile(config, []byte(`<busconfig><type>system</type><listen>unix:path=`+dir+`/bus</listen>
<policy context="default"><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow user="*"/></policy>
</busconfig>`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "dbus-daemon", "--nofork", "--config-file="+config, "--print-address")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("dbus-daemon does not start: ", err)
	}
	return strings.TrimSpace(line)
}

// services are logind and NetworkManager, as far as they are asked. Their bus is real.
type services struct {
	conn *dbus.Conn

	mu      sync.Mutex
	list    []inhibitor
	metered uint32
	asked   int
}

func (s *services) ListInhibitors() ([]inhibitor, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.list, nil
}

func (s *services) Get(of, name string) (dbus.Variant, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of != networkName || name != "Metered" {
		return dbus.Variant{}, dbus.MakeFailedError(os.ErrNotExist)
	}
	return dbus.MakeVariant(s.metered), nil
}

func startServices(t *testing.T, address string) *services {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &services{conn: conn}
	for _, e := range []struct{ path, of string }{{logindPath, logindManager}, {networkPath, busProperties}} {
		if err := conn.Export(s, dbus.ObjectPath(e.path), e.of); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{logindName, networkName} {
		if _, err := conn.RequestName(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// change changes what the services say, and tells the bus what has changed.
func (s *services) change(t *testing.T, list []inhibitor, metered uint32, path, of, property string) {
	t.Helper()
	s.mu.Lock()
	s.list, s.metered = list, metered
	s.mu.Unlock()
	err := s.conn.Emit(dbus.ObjectPath(path), busProperties+".PropertiesChanged", of,
		map[string]dbus.Variant{property: dbus.MakeVariant("")}, []string{})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBus(t *testing.T) {
	address := startBus(t)
	c, err := NewConditions(ConditionsConfig{Bus: address, Watch: WatchConfig{SkipDisplays: true}, Sys: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	news := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx, func() { news <- struct{}{} }) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	says := func(name, want string) {
		t.Helper()
		eventually(t, name+" is not "+want, func() bool {
			ad := classad.NewAd()
			c.Set(ad)
			return ad.Eval(name, nil).String() == want
		})
	}
	s := startServices(t, address)
	says("Inhibited", "false")
	says("Metered", "undefined") // NetworkManager does not know
	film := []inhibitor{{"idle", "firefox", "video-playing", "block", 1000, 1}}
	s.change(t, film, 0, logindPath, logindManager, "BlockInhibited")
	says("Inhibited", "true")
	s.change(t, film, 3, networkPath, networkName, "Metered")
	says("Metered", "true")
	s.change(t, nil, 2, logindPath, logindManager, "BlockInhibited")
	says("Inhibited", "false")
	says("Metered", "true") // nobody has said that it changed
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	s.change(t, film, 2, logindPath, logindManager, "IdleHint")
	s.change(t, film, 2, networkPath, networkName, "Metered")
	says("Metered", "false")
	s.mu.Lock()
	if s.asked != asked {
		t.Error("asks for inhibitors when something else has changed")
	}
	s.mu.Unlock()
	if len(news) < 5 {
		t.Errorf("%d changes were news", len(news))
	}
	s.conn.Close()
	says("Inhibited", "undefined")
	says("Metered", "undefined")
	again := startServices(t, address) // as after an upgrade
	says("Inhibited", "false")
	again.change(t, nil, 1, networkPath, networkName, "Metered")
	says("Metered", "true")

	once, err := NewConditions(ConditionsConfig{Bus: address, Watch: WatchConfig{SkipDisplays: true}, Sys: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	once.Read(t.Context())
	ad := classad.NewAd()
	once.Set(ad)
	if yes, ok := ad.Bool("Metered"); !yes || !ok {
		t.Errorf("read once, Metered is %v", ad.Eval("Metered", nil))
	}
}
