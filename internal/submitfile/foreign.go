package submitfile

import (
	"bytes"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"skua/internal/diag"
)

// otherSystem is a batch system whose scripts are sometimes submitted by mistake. Its directives are
// comments to everyone else.
type otherSystem struct {
	name      string
	directive string
	task      []string // variables that tell a job of an array which one it is
	options   []otherOption
}

// otherOption is an option of a directive and the command that asks for the same here.
type otherOption struct {
	command string
	pattern string                   // of the option with its value; compiled when it is needed, which every start of skua would take time for
	value   func(text string) string // what it is here; empty if nothing can be said
}

// option is one that is written in any of the ways given, with its value after a blank or =.
func option(command string, value func(string) string, ways ...string) otherOption {
	chars := `[^\s,:]+`
	switch command {
	case jobTime:
		chars = `[^\s,]+`
	case "queue":
		chars = `\S+`
	}
	return otherOption{command, `(?:^|[\s,:])(?:` + strings.Join(ways, "|") + `)(?:[\s=]+|\b)("[^"]*"|` + chars + `)`, value}
}

const jobTime = "allowed_execute_duration"

var otherSystems = []otherSystem{
	{"Slurm", "#SBATCH", []string{"SLURM_ARRAY_TASK_ID"}, []otherOption{
		option("batch_name", asIs, "-J", "--job-name"),
		option("request_cpus", asIs, "-c", "--cpus-per-task"),
		option("request_memory", size, "--mem", "--mem-per-cpu"),
		option("output", asIs, "-o", "--output"),
		option("error", asIs, "-e", "--error"),
		option("initialdir", asIs, "-D", "--chdir"),
		option("accounting_group", asIs, "-A", "--account"),
		option(jobTime, minutes, "-t", "--time"),
		option("queue", asIs, "-a", "--array"),
	}},
	{"PBS", "#PBS", []string{"PBS_ARRAY_INDEX", "PBS_ARRAYID"}, []otherOption{
		option("batch_name", asIs, "-N"),
		option("request_cpus", asIs, "ncpus", "ppn"),
		option("request_memory", size, "mem", "pmem"),
		option("output", asIs, "-o"),
		option("error", asIs, "-e"),
		option("accounting_group", asIs, "-A"),
		option(jobTime, seconds, "walltime"),
		option("queue", asIs, "-J", "-t"),
	}},
	{"LSF", "#BSUB", nil, []otherOption{
		option("batch_name", asIs, "-J"),
		option("request_cpus", asIs, "-n"),
		option("request_memory", size, "-M"),
		option("output", asIs, "-o"),
		option("error", asIs, "-e"),
		option("accounting_group", asIs, "-P"),
		option(jobTime, hoursAndMinutes, "-W"),
	}},
	{"Grid Engine", "#$ -", []string{"SGE_TASK_ID"}, []otherOption{
		option("batch_name", asIs, "-N"),
		option("request_cpus", asIs, `-pe\s+\S+`),
		option("request_memory", size, "h_vmem", "mem_free"),
		option("output", asIs, "-o"),
		option("error", asIs, "-e"),
		option("accounting_group", asIs, "-P"),
		option(jobTime, seconds, "h_rt"),
		option("queue", asIs, "-t"),
	}},
}

// foreign recognises a script of another batch system: it has that system's directives and begins
// as a script does, which no job description does unless the script's interpreter is a submit command. The hint has the lines that ask for the same here.
func foreign(name string, text []byte) error {
	if line := workflow(text); line > 0 {
		return &diag.Problem{
			What: pos{file: name, line: line}.String() + ": this is a DAG, a workflow for HTCondor's DAGMan, not a job description",
			Hint: "there are no workflows yet; a shell runs one job after another: skua submit --wait a.sub && skua submit b.sub",
		}
	}
	if !bytes.HasPrefix(text, []byte("#!")) || ownInterpreter(text) {
		return nil
	}
	const looked = 1 << 16 // bytes
	lines := strings.Split(string(text[:min(len(text), looked)]), "\n")
	for i, line := range lines {
		for _, o := range otherSystems {
			if strings.HasPrefix(strings.TrimSpace(line), o.directive) {
				return &diag.Problem{
					What: pos{file: name, line: i + 1}.String() + ": this is a " + o.name + " script, not a job description",
					Hint: "put these lines into a file and submit that:\n" + o.description(name, lines),
				}
			}
		}
	}
	program := name
	switch {
	case strings.Contains(name, " "): // such as standard input
		program = "./FILE"
	case filepath.Base(name) == name:
		program = "./" + name
	}
	return &diag.Problem{
		What: pos{file: name, line: 1}.String() + ": this is a script, not a job description",
		Hint: "to run it as a job: skua submit -- " + program + "\nor put these lines into a file and submit that:\n" + otherSystem{}.description(name, nil),
	}
}

// What the first statement of a DAG looks like, and the line of one of its nodes.
var (
	dagBegins = regexp.MustCompile(`^(?i:job|final|provisioner|service|subdag|splice|parent|config|dot|vars|script|retry|category|maxjobs|env)[ \t]+[^\s=:]`)
	dagNode   = regexp.MustCompile(`(?im)^[ \t]*(job|final|subdag[ \t]+external|splice)[ \t]+[^\s=:]+[ \t]+[^\s=:]`)
)

// workflow recognises a DAG, and gives the line of its first statement; 0 for what is none.
func workflow(text []byte) int {
	line := 0
	for l := range bytes.Lines(text) {
		line++
		l = bytes.TrimSpace(l)
		switch {
		case len(l) == 0 || l[0] == '#':
		case dagBegins.Match(l) && dagNode.Match(text):
			return line
		default:
			return 0
		}
	}
	return 0
}

// ownInterpreter says whether the first line is that of a job description which can be executed: its interpreter,
// a path or what env is to find, is skua or condor_submit.
func ownInterpreter(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	words := strings.Fields(strings.TrimPrefix(string(line), "#!"))
	if len(words) > 1 && path.Base(words[0]) == "env" {
		words = words[1:]
		if words[0] == "-S" && len(words) > 1 {
			words = words[1:]
		}
	}
	if len(words) == 0 {
		return false
	}
	name := path.Base(words[0])
	return name == "skua" || name == "condor_submit"
}

// description is what to write instead of a script: its directives as far as they have an equivalent.
func (o otherSystem) description(name string, script []string) string {
	base := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	lines := []string{"executable = " + name}
	streams := map[string]string{"output": base + ".out"}
	queue, isArray := "queue", false
	for _, opt := range o.options {
		value := opt.find(script, o.directive)
		switch {
		case value == "":
		case opt.command == "queue":
			isArray = true
			var task []string
			task, queue = o.array(value)
			lines = append(lines, task...)
		case opt.command == "output", opt.command == "error":
			streams[opt.command] = value
		default:
			lines = append(lines, opt.command+" = "+value)
		}
	}
	for _, stream := range []string{"output", "error"} {
		if file, ok := streams[stream]; ok {
			lines = append(lines, stream+" = "+streamName(file, isArray))
		}
	}
	lines = append(lines, "log = "+base+".log", queue)
	return "    " + strings.Join(lines, "\n    ")
}

// streamName is the name of a file in which another system's patterns stand. The jobs of an array
// cannot all write the same one.
func streamName(file string, isArray bool) string {
	file = strings.NewReplacer("%A", "$(Cluster)", "%j", "$(Cluster)", "%J", "$(Cluster)", "%a", "$INT(task)").Replace(file)
	if !isArray || strings.Contains(file, "$INT(task)") {
		return file
	}
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + ".$INT(task)" + ext
}

// find looks for an option in the directives of a script, and gives its value here.
func (opt otherOption) find(script []string, directive string) string {
	directive = strings.TrimSuffix(directive, " -")
	pattern := regexp.MustCompile(opt.pattern)
	for _, line := range script {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), directive)
		if !ok {
			continue
		}
		if m := pattern.FindStringSubmatch(rest); m != nil {
			return clip(opt.value(strings.Trim(m[1], `"`)))
		}
	}
	return ""
}

func asIs(text string) string { return text }

var sizeUnit = regexp.MustCompile(`^(\d+)([kKmMgGtT]?)[bBwW]?$`)

// size writes a size of another batch system as one of HTCondor's. Without a unit it is in megabytes.
func size(text string) string {
	m := sizeUnit.FindStringSubmatch(text)
	switch {
	case m == nil:
		return ""
	case m[2] == "":
		return m[1] + "MB"
	}
	return m[1] + strings.ToUpper(m[2]) + "B"
}

// seconds reads [[hours:]minutes:]seconds.
func seconds(text string) string { return duration(text, 1) }

// minutes reads what Slurm takes: minutes, or days-hours, or hours with what follows.
func minutes(text string) string {
	days, rest, ok := strings.Cut(text, "-")
	if ok {
		n, err := strconv.Atoi(days)
		of, err2 := strconv.Atoi(duration(rest+strings.Repeat(":0", 2-min(2, strings.Count(rest, ":"))), 1))
		if err != nil || err2 != nil || n < 0 || n > 1000 {
			return ""
		}
		return itoa(n*24*60*60 + of)
	}
	if !strings.Contains(text, ":") {
		return duration(text, 60)
	}
	return duration(text, 1)
}

// hoursAndMinutes reads [hours:]minutes.
func hoursAndMinutes(text string) string { return duration(text, 60) }

// duration reads numbers joined by colons, each sixty of the next; unit is the last one's in seconds.
func duration(text string, unit int) string {
	sum := 0
	for _, part := range strings.Split(text, ":") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > 1e6 || sum > 1e6 {
			return ""
		}
		sum = 60*sum + n
	}
	return itoa(sum * unit)
}

var (
	arrayRange = regexp.MustCompile(`^(\d{1,7})-(\d{1,7})(?::(\d{1,7}))?(?:%|$)`)
	arrayList  = regexp.MustCompile(`^\d{1,7}(?:,\d{1,7})*$`)
)

// array reads which jobs an array has: first-last, first-last:step or a list. It gives the lines that tell
// each job which one it is, and the queue statement.
func (o otherSystem) array(text string) (lines []string, queue string) {
	variables := make([]string, len(o.task))
	for i, name := range o.task {
		variables[i] = name + "=$INT(task)"
	}
	environment := "environment = \"" + strings.Join(variables, " ") + "\""
	if arrayList.MatchString(text) {
		return []string{environment}, "queue task in (" + strings.ReplaceAll(text, ",", " ") + ")"
	}
	first, step, count := 0, 1, "N"
	if m := arrayRange.FindStringSubmatch(text); m != nil {
		first, _ = strconv.Atoi(m[1])
		last, _ := strconv.Atoi(m[2])
		if n, _ := strconv.Atoi(m[3]); n > 0 {
			step = n
		}
		if first <= last {
			count = itoa((last-first)/step + 1)
		}
	}
	task := "$(Process)"
	if step > 1 {
		task += " * " + itoa(step)
	}
	if first > 0 {
		task += " + " + itoa(first)
	}
	return []string{"task = " + task, environment}, "queue " + count
}
