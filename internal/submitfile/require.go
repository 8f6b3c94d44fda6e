package submitfile

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// parseSize reads a number with a unit, such as 2GB or 0.5G, and gives it in units of unit bytes,
// rounded up. A bare number is in those units already.
func parseSize(text string, unit float64) (int64, bool) {
	text = strings.TrimSpace(text)
	n := 0
	for n < len(text) && (isDigit(text[n]) || text[n] == '.') {
		n++
	}
	f, err := strconv.ParseFloat(text[:n], 64)
	if err != nil {
		return 0, false
	}
	suffix := strings.ToUpper(strings.TrimSpace(text[n:]))
	scale := unit
	if suffix != "" {
		i := strings.Index("KMGT", suffix[:1])
		if rest := suffix[1:]; i < 0 || rest != "" && rest != "B" {
			return 0, false
		}
		scale = math.Pow(1024, float64(i+1))
	}
	if f = math.Ceil(f * scale / unit); f > math.MaxInt64/2 {
		return 0, false
	}
	return int64(f), true
}

// request is one request_... command.
type request struct {
	value
	expr *classad.Expr // nil: nothing is requested
}

// atMost reports whether a plain number not above limit is requested.
func (r request) atMost(limit float64) bool {
	if r.expr == nil {
		return true
	}
	text := r.expr.OldString()
	if b, ok := parseBool(text); ok && len(text) > 1 {
		return b && limit >= 1 || !b && limit >= 0
	}
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && f <= limit
}

// request reads request_cpus, request_memory or request_disk; unit is 0 for a plain number. The word
// undefined means that nothing is requested. What +RequestMemory says counts as it is.
func (p *proc) request(what, standard string, unit float64) (r request, err error) {
	if p.forced["request"+what] {
		return p.forcedRequest("Request" + strings.ToUpper(what[:1]) + what[1:])
	}
	if r.value, err = p.get("request_"+what, "request"+what); err != nil {
		return r, err
	}
	text := r.text
	switch {
	case !r.set():
		text = standard
	case strings.EqualFold(text, "undefined"):
		return r, nil
	case unit > 0:
		if n, ok := parseSize(text, unit); ok {
			text = strconv.FormatInt(n, 10)
		}
	}
	if text == "" {
		return r, nil
	}
	if r.expr, err = classad.ParseOldExpr(text); err != nil {
		problem := exprError(r.name, r.value, err)
		problem.Hint = "write a number, with KB, MB, GB or TB for a size, or an expression"
		return r, problem
	}
	if v := r.expr.Eval(classad.NewAd(), nil); v.Kind() == classad.Integer || v.Kind() == classad.Real {
		if f, ok := v.Real(); ok && f < 0 {
			return r, p.e.d.refuse(r.at, "", "%s = %s is negative", r.name, clip(r.text))
		}
	}
	return r, nil
}

// forcedRequest reads a request that is made by the name of its attribute.
func (p *proc) forcedRequest(attr string) (r request, err error) {
	if r.value, err = p.get("MY." + attr); err != nil {
		return r, err
	}
	r.name = "+" + attr
	if r.expr = undefined; r.set() {
		if r.expr, err = classad.ParseOldExpr(r.text); err != nil {
			return r, exprError(r.name, r.value, err)
		}
	}
	return r, nil
}

func (p *proc) requestCPUs() (request, error) { return p.request("cpus", "1", 0) }

func (p *proc) requestMemory() (request, error) {
	return p.request("memory", "ifthenelse(MemoryUsage =!= undefined,MemoryUsage,(ImageSize + 1023) / 1024)", 1<<20)
}

func (p *proc) requestDisk() (request, error) { return p.request("disk", "DiskUsage", 1<<10) }

func buildRequests(p *proc) error {
	for _, r := range []struct {
		attr string
		read func() (request, error)
	}{{"RequestCpus", p.requestCPUs}, {"RequestMemory", p.requestMemory}, {"RequestDisk", p.requestDisk}} {
		req, err := r.read()
		if err != nil {
			return err
		}
		if req.expr != nil {
			if err := p.put(r.attr, setting{expr: req.expr}); err != nil {
				return err
			}
			p.checkRequest(req)
		}
	}
	return p.buildGPUs()
}

// checkRequest notes a request that is only a word, which people write for a size and which HTCondor
// takes for an attribute.
func (p *proc) checkRequest(r request) {
	if !isMacroName(r.text) || isDigit(r.text[0]) {
		return
	}
	switch strings.ToLower(r.text) {
	case "diskusage", "memoryusage", "imagesize", "requestmemory", "requestdisk", "requestcpus":
		return
	}
	if !p.forced[strings.ToLower(strings.TrimPrefix(strings.ToLower(r.text), "my."))] {
		p.note(r.at, fmt.Sprintf("%s = %s asks for the value of an attribute %s, which the job does not have; a size is a number such as 2GB", r.name, r.text, r.text))
	}
}

// isOwnResource recognises request_NAME for a resource that HTCondor does not know itself.
func isOwnResource(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(name), "request_")
	switch rest {
	case "", "cpus", "memory", "disk", "gpus", "cpu", "gpu": // the last two are slips, and reported
		return false
	}
	return ok
}

// ownResource is the name of the resource that a macro requests, be it request_NAME or +RequestNAME, if
// HTCondor does not know it itself.
func (p *proc) ownResource(m *macro) (name string, ok bool) {
	if isOwnResource(m.name) {
		name = m.name[len("request_"):]
		return name, !p.forced["request"+strings.ToLower(name)]
	}
	if _, set := m.at(p.q.statement); !set || !isForced(m.name) {
		return "", false
	}
	attr := m.name[len("MY."):]
	if len(attr) < len("request") || !strings.EqualFold(attr[:len("request")], "request") {
		return "", false
	}
	name = attr[len("request"):]
	return name, !strings.HasPrefix(name, "_") && isOwnResource("request_"+name)
}

// resourceAttribute sets what a request_NAME asks for.
func resourceAttribute(command string) func(*proc) error {
	attr := "Request" + command[len("request_"):]
	return func(p *proc) error {
		v, err := p.get(command)
		if err != nil || !v.set() {
			return err
		}
		return p.setExpr(attr, v)
	}
}

// buildRequirements joins what the user requires with what the job needs: its own architecture and
// system, what it requests, and a way for its files to get there. Nothing is added about what the
// user's own requirements speak of already.
func buildRequirements(p *proc) error {
	r, err := p.get("requirements")
	if err != nil {
		return err
	}
	var clauses []string
	mentioned, err := p.mentioned(r)
	if err != nil {
		return err
	}
	if r.set() {
		clauses = append(clauses, "("+r.text+")")
	}
	for _, part := range []func(value, map[string]bool) ([]string, error){
		p.platformClauses, p.requestClauses, p.toolClauses, p.fileClauses, p.deferralClauses, p.checkpointClauses, p.baselineClauses, p.runtimeClauses, p.cudaClauses,
	} {
		more, err := part(r, mentioned)
		if err != nil {
			return err
		}
		clauses = append(clauses, more...)
	}
	if len(clauses) == 0 {
		clauses = []string{"true"}
	}
	r.text, r.verbatim = strings.Join(clauses, " && "), false
	return p.setExpr("Requirements", r)
}

// forcesRequirements reports whether +Requirements takes the place of what is joined here. HTCondor then
// leaves out what it notes in the ad while it does that.
func (p *proc) forcesRequirements() bool { return p.forced["requirements"] }

// mentioned has the attributes of the machine that the user's requirements speak of, in lower case.
func (p *proc) mentioned(r value) (map[string]bool, error) {
	names := map[string]bool{}
	if !r.set() {
		return names, nil
	}
	e, err := classad.ParseOldExpr(r.text)
	if err != nil {
		return nil, exprError("requirements", r, err)
	}
	job := classad.NewAd()
	job.SetInt("RequestMemory", 0)
	for _, name := range e.ReferencesIn(job).Target {
		names[strings.ToLower(name)] = true
	}
	return names, nil
}

func (p *proc) platformClauses(_ value, mentioned map[string]bool) ([]string, error) {
	var clauses []string
	kind, err := p.kind()
	if err != nil {
		return nil, err
	}
	if !mentioned["arch"] {
		clauses = append(clauses, fmt.Sprintf("(TARGET.Arch == %q)", p.e.d.arch()))
	}
	switch kind {
	case "docker":
		return append(clauses, "TARGET.HasDocker"), nil
	case "container":
		c, err := p.container()
		if err != nil {
			return nil, err
		}
		has := map[string]string{"WantDockerImage": "TARGET.HasDockerURL", "WantSIF": "TARGET.HasSIF", "WantSandboxImage": "TARGET.HasSandboxImage"}[c.want]
		return append(clauses, "TARGET.HasContainer", has), nil
	}
	for _, name := range []string{"opsys", "opsysandver", "opsyslongname", "opsysshortname", "opsysname", "opsyslegacy"} {
		if mentioned[name] {
			return clauses, nil
		}
	}
	return append(clauses, fmt.Sprintf("(TARGET.OpSys == %q)", p.e.d.opSys())), nil
}

func (p *proc) requestClauses(r value, mentioned map[string]bool) ([]string, error) {
	var clauses []string
	disk, err := p.requestDisk()
	if err != nil {
		return nil, err
	}
	switch none := disk.expr == nil; {
	case none && !mentioned["disk"]:
		clauses = append(clauses, "(TARGET.Disk >= DiskUsage)")
	case !none && (mentioned["disk"] || !disk.atMost(0)):
		clauses = append(clauses, "(TARGET.Disk >= RequestDisk)")
	}
	memory, err := p.requestMemory()
	if err != nil {
		return nil, err
	}
	if !memory.atMost(1) {
		clauses = append(clauses, "(TARGET.Memory >= RequestMemory)")
	}
	for _, name := range []string{"Disk", "Memory"} {
		if mentioned[strings.ToLower(name)] {
			p.note(r.at, fmt.Sprintf("the requirements speak of the machine's %s; request_%s does that, and also reserves it", name, strings.ToLower(name)))
		}
	}
	cpus, err := p.requestCPUs()
	if err != nil {
		return nil, err
	}
	if !mentioned["cpus"] && !cpus.atMost(1) {
		clauses = append(clauses, "(TARGET.Cpus >= RequestCpus)")
	}
	resources, err := p.resourceClauses(mentioned)
	return append(clauses, resources...), err
}

// resourceClauses require what is requested of GPUs and of resources of other names, in the order of
// their names.
func (p *proc) resourceClauses(mentioned map[string]bool) ([]string, error) {
	byName := map[string]string{}
	gpus, err := p.gpuClause()
	if err != nil {
		return nil, err
	}
	if gpus != "" && !mentioned["gpus"] {
		byName["gpus"] = gpus
	}
	for _, m := range p.e.d.macros.order {
		name, ok := p.ownResource(m)
		if !ok || mentioned[strings.ToLower(name)] {
			continue
		}
		v, err := p.get(m.name)
		if err != nil {
			return nil, err
		}
		n, errNumber := strconv.ParseFloat(v.text, 64)
		switch key := strings.ToLower(name); {
		case !v.set() || errNumber == nil && n <= 0 || strings.EqualFold(v.text, "true") || strings.EqualFold(v.text, "false"):
		case strings.HasPrefix(v.text, `"`):
			byName[key] = fmt.Sprintf("regexp(Request%s, TARGET.%s)", name, name)
		default:
			byName[key] = fmt.Sprintf("(TARGET.%s >= Request%s)", name, name)
		}
	}
	clauses := make([]string, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		clauses = append(clauses, byName[name])
	}
	return clauses, nil
}

// toolClauses require what some commands ask of a machine that runs HTCondor.
func (p *proc) toolClauses(value, map[string]bool) ([]string, error) {
	encrypted, _, err := p.boolOf(false, "encrypt_execute_directory", "encryptexecutedirectory")
	if encrypted {
		return []string{"TARGET.HasEncryptExecuteDirectory"}, err
	}
	return nil, err
}

// fileClauses require a machine that shares the files or can be sent them.
func (p *proc) fileClauses(_ value, mentioned map[string]bool) ([]string, error) {
	kind, err := p.kind()
	if err != nil || isHere(kind) {
		return nil, err
	}
	t, err := p.transfers()
	if err != nil {
		return nil, err
	}
	should, err := p.forcedString("ShouldTransferFiles", t.should)
	if err != nil {
		return nil, err
	}
	var clauses []string
	const sameDomain = "(TARGET.FileSystemDomain == MY.FileSystemDomain)"
	switch {
	case should == "NO":
		if !mentioned["filesystemdomain"] {
			clauses = append(clauses, sameDomain)
		}
	case !mentioned["hasfiletransfer"]:
		can, err := p.canTransfer(t, mentioned)
		if err != nil {
			return nil, err
		}
		if should == "IF_NEEDED" && !mentioned["filesystemdomain"] {
			can = "(" + sameDomain + " || " + can + ")"
		}
		clauses = append(clauses, can)
	}
	return clauses, nil
}

// forcedString is a word that +Name sets, or else what its command says.
func (p *proc) forcedString(attr, otherwise string) (string, error) {
	if !p.forced[strings.ToLower(attr)] {
		return otherwise, nil
	}
	v, err := p.get("MY." + attr)
	return strings.ToUpper(unquote(v.text)), err
}

func (p *proc) checkpointClauses(_ value, mentioned map[string]bool) ([]string, error) {
	code, err := p.get("checkpoint_exit_code", "successcheckpointexitcode")
	if err != nil || !code.set() || mentioned["hasselfcheckpointtransfers"] {
		return nil, err
	}
	return []string{"TARGET.HasSelfCheckpointTransfers"}, nil
}

// canTransfer is the clause for a machine that can be sent this job's files.
func (p *proc) canTransfer(t transfers, mentioned map[string]bool) (string, error) {
	can := "TARGET.HasFileTransfer"
	for _, c := range []string{"encrypt_input_files", "encrypt_output_files", "dont_encrypt_input_files", "dont_encrypt_output_files"} {
		v, err := p.get(c)
		if err != nil {
			return "", err
		}
		if v.set() && !mentioned["hasperfileencryption"] {
			can += " && TARGET.HasPerFileEncryption"
			break
		}
	}
	if plugins, err := p.get("transfer_plugins", "transferplugins"); err != nil {
		return "", err
	} else if plugins.set() {
		can = "TARGET.HasJobTransferPlugins"
	}
	// All three came with HTCondor 8.9.7, whose own words these are.
	paths, _, err := p.boolOf(false, "preserve_relative_paths", "preserverelativepaths")
	if err != nil {
		return "", err
	}
	checkpoint, err := p.get("transfer_checkpoint_files", "transfercheckpoint")
	if err != nil {
		return "", err
	}
	when, err := p.forcedString("WhenToTransferOutput", t.when)
	if err != nil {
		return "", err
	}
	if paths || checkpoint.set() || when == "ON_SUCCESS" {
		can += ` && versioncmp(split(TARGET.CondorVersion)[1],"8.9.7") >= 0`
	}
	if !mentioned["hasfiletransferpluginmethods"] {
		for _, m := range t.methods() {
			can += fmt.Sprintf(" && stringListIMember(%q,TARGET.HasFileTransferPluginMethods)", m)
		}
	}
	return "(" + can + ")", nil
}

func (p *proc) deferralClauses(value, map[string]bool) ([]string, error) {
	deferred, err := p.deferred()
	if err != nil || !deferred && !p.forced["deferraltime"] {
		return nil, err
	}
	return []string{
		"TARGET.HasJobDeferral",
		"(((time() + ScheddInterval) >= (DeferralTime - DeferralPrepTime)) && (time() < (DeferralTime + DeferralWindow)))",
	}, nil
}
