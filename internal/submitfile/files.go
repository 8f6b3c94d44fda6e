package submitfile

import (
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"skua/internal/job"
)

// stream sets the attributes of stdin, stdout or stderr.
func (p *proc) stream(attr, transferAttr, streamAttr, command, alias string) error {
	v, err := p.get(command, alias)
	if err != nil {
		return err
	}
	transfer, _, err := p.boolOf(true, "transfer_"+command, transferAttr)
	if err != nil {
		return err
	}
	streamed, _, err := p.boolOf(false, "stream_"+command, streamAttr)
	if err != nil {
		return err
	}
	if err := p.checkQuotes(v); err != nil {
		return err
	}
	name := v.raw
	if name == "" || name == "/dev/null" {
		name, transfer = "/dev/null", false
	}
	p.setString(attr, name)
	if transfer {
		p.setBool(streamAttr, streamed)
	} else {
		p.setBool(transferAttr, false)
	}
	return nil
}

// transfers is what a description says about moving files.
type transfers struct {
	should      string // YES, NO or IF_NEEDED
	when        string // ON_EXIT, ON_EXIT_OR_EVICT, ON_SUCCESS; empty with NO
	in, out     value
	inFiles     []string
	outFiles    []string
	image       string // of a container, to be sent as an input
	remaps      value
	places      []string // where the remaps send outputs
	destination value
}

// methods are the URL schemes that the machine must be able to fetch or send.
func (t transfers) methods() []string {
	var m []string
	for _, name := range slices.Concat(t.inFiles, t.places, []string{t.destination.text}) {
		if s := urlScheme(name); s != "" && !slices.Contains(m, s) {
			m = append(m, s)
		}
	}
	sort.Strings(m)
	return m
}

// urlScheme is the part of a URL before ://, or empty for the name of a file.
func urlScheme(name string) string {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok || scheme == "" || !isLetter(scheme[0]) || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return ""
	}
	return scheme
}

func (p *proc) transfers() (t transfers, err error) {
	if t.in, err = p.get("transfer_input_files", "transferinputfiles", "transferinput"); err != nil {
		return t, err
	}
	if t.out, err = p.get("transfer_output_files", "transferoutputfiles", "transferoutput"); err != nil {
		return t, err
	}
	if t.destination, err = p.get("output_destination", "outputdestination"); err != nil {
		return t, err
	}
	if kind, err := p.kind(); err != nil {
		return t, err
	} else if kind == "container" {
		c, err := p.container()
		if err != nil {
			return t, err
		}
		t.image = c.sent
	}
	if t.remaps, err = p.get("transfer_output_remaps", "transferoutputremaps"); err != nil {
		return t, err
	}
	for _, r := range job.RemapsOf(unquote(t.remaps.text)) {
		t.places = append(t.places, r.Place)
	}
	t.inFiles, t.outFiles = fileList(t.in.text), fileList(t.out.text)
	if t.image != "" {
		t.inFiles = append(t.inFiles, t.image)
	}

	should, err := p.get("should_transfer_files", "shouldtransferfiles")
	if err != nil {
		return t, err
	}
	t.should = strings.ToUpper(should.text)
	switch t.should {
	case "", "AUTO":
		t.should = "IF_NEEDED"
	case "YES", "NO", "IF_NEEDED":
	case "ALWAYS", "TRUE":
		t.should = "YES"
	case "NEVER", "FALSE":
		t.should = "NO"
	default:
		return t, problem(should.at, "write YES, NO or IF_NEEDED", "should_transfer_files = %s", clip(should.text))
	}

	if t.should == "NO" && (len(t.inFiles) > 0 || t.out.set()) {
		v := t.in
		if !t.in.set() {
			v = t.out
		}
		return t, problem(v.at, "with should_transfer_files = YES they are", "%s names files, but should_transfer_files = NO says that none are sent", v.name)
	}

	err = p.whenToTransfer(&t, should)
	return t, err
}

// whenToTransfer reads when outputs are to be sent, and corrects whether files are.
func (p *proc) whenToTransfer(t *transfers, should value) error {
	when, err := p.get("when_to_transfer_output", "whentotransferoutput")
	if err != nil {
		return err
	}
	t.when = strings.ToUpper(when.text)
	switch t.when {
	case "":
		if t.when = "ON_EXIT"; t.should == "NO" {
			t.when = ""
		}
		return nil
	case "ON_EXIT", "ON_EXIT_OR_EVICT", "ON_SUCCESS":
	case "ALWAYS":
		t.when = "ON_EXIT_OR_EVICT"
	case "NEVER":
		if t.should != "NO" {
			t.when = "ON_EXIT"
			return p.e.d.refuse(when.at, "write should_transfer_files = NO", "when_to_transfer_output = %s contradicts should_transfer_files = %s", when.text, t.should)
		}
	default:
		return problem(when.at, "write ON_EXIT, ON_EXIT_OR_EVICT or ON_SUCCESS", "when_to_transfer_output = %s", clip(when.text))
	}
	if t.should == "NO" {
		return problem(when.at, "leave the line out", "when_to_transfer_output = %s contradicts should_transfer_files = NO", when.text)
	}
	if t.when == "ON_EXIT_OR_EVICT" && t.should == "IF_NEEDED" {
		if should.set() {
			return problem(should.at, "write should_transfer_files = YES", "should_transfer_files = IF_NEEDED does not go with when_to_transfer_output = ON_EXIT_OR_EVICT")
		}
		t.should = "YES"
	}
	return nil
}

// fileList splits a list of files at its commas. The text "" is an empty list.
func fileList(text string) []string {
	if text == `""` {
		return nil
	}
	var names []string
	for _, n := range strings.Split(text, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	return names
}

func buildFiles(p *proc) error {
	t, err := p.transfers()
	if err != nil {
		return err
	}
	p.setString("ShouldTransferFiles", t.should)
	if t.should != "NO" {
		p.setString("WhenToTransferOutput", t.when)
		if len(t.inFiles) > 0 {
			p.setString("TransferInput", strings.Join(t.inFiles, ","))
		}
		for _, name := range t.outFiles {
			if clean := path.Clean(name); clean == "." || !filepath.IsLocal(clean) {
				err := p.e.d.refuse(t.out.at, "names are relative to the job's directory; leave the line out for every new file in it",
					"%s names %s, which is no file in the job's directory and could not come back", t.out.name, clip(name))
				if err != nil {
					return err
				}
			}
		}
		if t.out.set() {
			p.setString("TransferOutput", strings.Join(t.outFiles, ","))
		}
	}
	if domain := p.e.d.opts.FSDomain; domain != "" && t.should != "YES" {
		p.setString("FileSystemDomain", domain)
	}
	if t.destination.set() {
		p.setString("OutputDestination", t.destination.text)
	}
	r, err := p.get("requirements")
	if err != nil {
		return err
	}
	mentioned, err := p.mentioned(r)
	if err != nil {
		return err
	}
	if m := t.methods(); len(m) > 0 && t.should != "NO" && !mentioned["hasfiletransfer"] && !p.forcesRequirements() {
		p.setString("WantTransferPluginMethods", strings.Join(m, ","))
	}
	if v, send, err := p.sendsExecutable(); err != nil {
		return err
	} else if send && t.should == "NO" {
		return problem(v.at, "leave one of the two lines out", "transfer_executable = %s contradicts should_transfer_files = NO", v.text)
	}
	public, err := p.get("public_input_files")
	if err != nil {
		return err
	}
	if public.set() {
		p.setString("PublicInputFiles", public.text)
		return p.e.d.refuse(public.at, "name the files in transfer_input_files; equal files are stored and sent once anyway",
			"public_input_files: %w", ErrUnsupported)
	}
	return nil
}

// sendsExecutable reports whether transfer_executable asks for what is the default.
func (p *proc) sendsExecutable() (value, bool, error) {
	v, err := p.get("transfer_executable", "transferexecutable")
	if err != nil {
		return v, false, err
	}
	send, known := sends(v.text)
	return v, known && send, nil
}

// buildInputs collects the files to send, as the description names them, and checks that they are there.
func buildInputs(p *proc) error {
	p.inputs = nil
	t, err := p.transfers()
	if err != nil {
		return err
	}
	exe, send, err := p.executable()
	if err != nil {
		return err
	}
	if send && t.should != "NO" {
		p.inputs = append(p.inputs, exe.text)
	}
	stdin, err := p.stdin()
	if err != nil {
		return err
	}
	if stdin.set() {
		if err := p.checkInput(stdin, stdin.text); err != nil {
			return err
		}
		if t.should != "NO" {
			p.inputs = append(p.inputs, stdin.text)
		}
	}
	for _, name := range t.inFiles {
		if scheme := urlScheme(name); scheme != "" {
			if err := p.checkURL(t.in, scheme, name); err != nil {
				return err
			}
			continue
		}
		if err := p.checkInput(t.in, name); err != nil {
			return err
		}
		p.inputs = append(p.inputs, name)
	}
	return nil
}

// stdin is the file for the job's standard input, if one is sent.
func (p *proc) stdin() (value, error) {
	v, err := p.get("input", "stdin")
	if err != nil {
		return v, err
	}
	v.text = v.raw // the blanks are a part of the name
	send, _, err := p.boolOf(true, "transfer_input", "transferin")
	if !send || v.text == "/dev/null" {
		v.text = ""
	}
	return v, err
}

// fromIwd makes the name of an input absolute.
func (p *proc) fromIwd(name string) (string, error) {
	dir, _, err := p.iwd()
	if err != nil || filepath.IsAbs(name) || dir == "" {
		return name, err
	}
	return filepath.Join(dir, name), nil
}

// checkURL refuses an input that no machine can fetch.
func (p *proc) checkURL(v value, scheme, name string) error {
	const hint = "name a file, or an address that begins with https:// or http://"
	switch strings.ToLower(scheme) {
	case "http", "https":
		return nil
	case "s3", "gs": // which HTCondor does not take without keys, and there are none here
		return problem(v.at, hint, "input %s: keys for %s:// are %w", clip(name), scheme, ErrUnsupported)
	}
	return p.e.d.refuse(v.at, hint, "input %s: %s:// is %w", clip(name), scheme, ErrUnsupported)
}

func (p *proc) checkInput(v value, name string) error {
	if p.e.d.opts.Stat == nil {
		return nil
	}
	full, err := p.fromIwd(name)
	if err != nil {
		return err
	}
	if f := p.e.stat(full); f.err != nil {
		return p.e.d.refuse(v.at, "names are relative to initialdir, or else to the directory where you submit", "input file %s: %w", name, cause(f.err))
	}
	return nil
}

func buildCheckpoint(p *proc) error {
	v, err := p.get("transfer_checkpoint_files", "transfercheckpoint")
	if err != nil {
		return err
	}
	if v.set() {
		p.setString("TransferCheckpoint", v.text)
	}
	code, err := p.get("checkpoint_exit_code", "successcheckpointexitcode")
	if err != nil {
		return err
	}
	if code.set() {
		n, err := code.integer()
		if err != nil {
			return err
		}
		const highest = 255
		if n < 0 || n > highest {
			err = p.e.d.refuse(code.at, "85 is the usual one", "checkpoint_exit_code = %d: a program's exit code is from 0 to %d", n, highest)
			if err != nil {
				return err
			}
		}
		if n == 0 {
			p.note(code.at, "checkpoint_exit_code = 0: the job can then never end successfully")
		}
		p.setInt("SuccessCheckpointExitCode", n)
		p.setBool("WantFTOnCheckpoint", true)
	}
	if v.set() && !code.set() {
		when, err := p.transfers()
		if err != nil {
			return err
		}
		if when.when != "ON_EXIT_OR_EVICT" {
			p.note(v.at, "transfer_checkpoint_files has no effect without checkpoint_exit_code")
		}
	}
	return nil
}
