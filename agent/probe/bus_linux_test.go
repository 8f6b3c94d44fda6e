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
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"

	"skua/agent/sysbus"
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

// Signals are hints if they come from the services that they are about, or from the bus.
func TestHints(t *testing.T) {
	const logind, network, stranger = ":1.5", ":1.6", ":1.7"
	signal := func(sender, name string, body ...any) *dbus.Signal {
		return &dbus.Signal{Sender: sender, Name: name, Body: body}
	}
	changed := func(sender, of string, values map[string]dbus.Variant, names []string) *dbus.Signal {
		return signal(sender, sysbus.Properties+".PropertiesChanged", of, values, names)
	}
	blocked := map[string]dbus.Variant{"BlockInhibited": dbus.MakeVariant("idle")}
	for _, tt := range []struct {
		signals             []*dbus.Signal
		inhibitors, network bool
	}{
		{nil, false, false},
		{[]*dbus.Signal{signal(logind, "x.y")}, false, false},
		{[]*dbus.Signal{signal(sysbus.Driver, sysbus.Driver+".NameOwnerChanged", logindName, "", logind)}, true, false},
		{[]*dbus.Signal{signal(sysbus.Driver, sysbus.Driver+".NameOwnerChanged", networkName, network, "")}, false, true},
		{[]*dbus.Signal{signal(sysbus.Driver, sysbus.Driver+".NameOwnerChanged", "org.example", "", stranger)}, false, false},
		{[]*dbus.Signal{signal(sysbus.Driver, sysbus.Driver+".NameOwnerChanged")}, false, false},
		{[]*dbus.Signal{signal(sysbus.Driver, sysbus.Driver+".NameAcquired", stranger)}, false, false},
		{[]*dbus.Signal{signal(stranger, sysbus.Driver+".NameOwnerChanged", logindName, logind, stranger)}, false, false},
		{[]*dbus.Signal{changed(logind, logindManager, blocked, nil)}, true, false},
		{[]*dbus.Signal{changed(network, logindManager, blocked, nil)}, false, false},
		{[]*dbus.Signal{changed(stranger, logindManager, blocked, nil)}, false, false},
		{[]*dbus.Signal{changed("", logindManager, blocked, nil)}, false, false},
		{[]*dbus.Signal{changed(logind, logindManager, map[string]dbus.Variant{"IdleHint": dbus.MakeVariant(true)}, nil)}, false, false},
		{[]*dbus.Signal{changed(network, networkName, nil, []string{"Metered"})}, false, true},
		{[]*dbus.Signal{changed(network, networkName, map[string]dbus.Variant{"State": dbus.MakeVariant(uint32(70))}, nil)}, false, false},
		{[]*dbus.Signal{signal(network, sysbus.Properties+".PropertiesChanged", networkName, 7, "Metered")}, false, false},
		{[]*dbus.Signal{signal(network, sysbus.Properties+".PropertiesChanged", networkName)}, false, false},
		{[]*dbus.Signal{changed(network, networkName, nil, []string{"Metered"}), changed(logind, logindManager, blocked, nil)}, true, true},
	} {
		h := newHints()
		h.owns(logindName, logind)
		h.owns(networkName, network)
		for _, s := range tt.signals {
			i := strings.LastIndex(s.Name, ".")
			h.DeliverSignal(s.Name[:i], s.Name[i+1:], s)
		}
		if h.inhibitors != tt.inhibitors || h.network != tt.network || len(h.wake) > 0 != (tt.inhibitors || tt.network) {
			t.Errorf("%v concern inhibitors %v, network %v", tt.signals, h.inhibitors, h.network)
		}
	}
}

// A service that was started again is heard under its new name, and whoever has the old one is not.
func TestHintsOfANewOwner(t *testing.T) {
	h := newHints()
	tell := func(sender string) bool {
		h.network = false
		h.DeliverSignal(sysbus.Properties, "PropertiesChanged", &dbus.Signal{Sender: sender, Body: []any{networkName, nil, []string{"Metered"}}})
		return h.network
	}
	h.DeliverSignal(sysbus.Driver, "NameOwnerChanged", &dbus.Signal{Sender: sysbus.Driver, Body: []any{networkName, ":1.5", ":1.9"}})
	h.owns(networkName, ":1.5") // answered before that
	if tell(":1.5") || !tell(":1.9") {
		t.Errorf("the owner is taken for %q", h.owners[networkName])
	}
}

// However often a service changes, it is asked once a second.
func TestHintsAreFollowedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHints()
		h.owns(networkName, ":1.5")
		closed, ended := make(chan struct{}), make(chan error)
		asked := 0
		go func() {
			ended <- h.follow(t.Context(), closed, busHoldOff, func(inhibitors, network bool) {
				if inhibitors || !network {
					t.Errorf("asks for inhibitors %v, for the network %v", inhibitors, network)
				}
				asked++
			})
		}()
		const seconds, times = 10, 100
		for range seconds * times {
			h.DeliverSignal(sysbus.Properties, "PropertiesChanged", &dbus.Signal{Sender: ":1.5", Body: []any{networkName, nil, []string{"Metered"}}})
			time.Sleep(time.Second / times)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked != seconds+1 {
			t.Errorf("in %d seconds it is asked %d times", seconds, asked)
		}
		close(closed)
		if err := <-ended; err == nil {
			t.Error("it goes on without a connection")
		}
	})
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
	for _, e := range []struct{ path, of string }{{logindPath, logindManager}, {networkPath, sysbus.Properties}} {
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
	err := s.conn.Emit(dbus.ObjectPath(path), sysbus.Properties+".PropertiesChanged", of,
		map[string]dbus.Variant{property: dbus.MakeVariant("")}, []string{})
	if err != nil {
		t.Fatal(err)
	}
}

// forge has everybody on the bus told by a stranger that a property has changed.
func forge(t *testing.T, address, path, of, property string) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var names []string
	if err := conn.BusObject().Call(sysbus.Driver+".ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	body := []any{of, map[string]dbus.Variant{property: dbus.MakeVariant("")}, []string{}}
	for _, name := range names {
		conn.Send(&dbus.Message{
			Type: dbus.TypeSignal, Body: body,
			Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldDestination: dbus.MakeVariant(name),
				dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath(path)),
				dbus.FieldInterface:   dbus.MakeVariant(sysbus.Properties),
				dbus.FieldMember:      dbus.MakeVariant("PropertiesChanged"),
				dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
			},
		}, nil)
	}
	if err := conn.BusObject().Call(sysbus.Driver+".GetId", 0).Err; err != nil { // by then the bus has sent them on
		t.Fatal(err)
	}
}

func TestBus(t *testing.T) {
	address := startBus(t)
	c, err := NewConditions(ConditionsConfig{Bus: address, Watch: WatchConfig{SkipDisplays: true}, Sys: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c.busHoldOff = 0
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
	forge(t, address, logindPath, logindManager, "BlockInhibited")
	s.change(t, film, 2, networkPath, networkName, "Metered")
	says("Metered", "false")
	s.mu.Lock()
	if s.asked != asked {
		t.Error("asks for inhibitors when something else has changed, or when a stranger says that they have")
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
