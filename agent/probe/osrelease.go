package probe

import (
	"strconv"
	"strings"
)

// parseOSRelease reads os-release(5), which every Linux distribution has.
func parseOSRelease(text string) opSys {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			fields[key] = unquote(value)
		}
	}
	o := opSys{family: "LINUX", long: fields["PRETTY_NAME"], name: distribution(fields["ID"], fields["NAME"])}
	if o.long == "" {
		o.long = o.name
	}
	o.major, o.minor = parseVersion(fields["VERSION_ID"])
	return o
}

// unquote takes the shell's quotes off a value. Escapes occur in no name that matters here.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// distribution gives HTCondor's name for a distribution, or one made like those.
func distribution(id, name string) string {
	switch id {
	case "debian":
		return "Debian"
	case "ubuntu":
		return "Ubuntu"
	case "centos":
		return "CentOS"
	case "rhel":
		return "RedHat"
	case "fedora":
		return "Fedora"
	case "almalinux":
		return "AlmaLinux"
	case "rocky":
		return "Rocky"
	case "opensuse", "opensuse-leap", "opensuse-tumbleweed":
		return "openSUSE"
	case "sles":
		return "SLES"
	case "amzn":
		return "AmazonLinux"
	}
	if name == "" {
		name = id
	}
	return strings.ReplaceAll(name, " ", "")
}

// parseVersion reads "22.04" as 22 and 4. What is missing or not a number is -1.
func parseVersion(s string) (major, minor int) {
	first, rest, _ := strings.Cut(s, ".")
	rest, _, _ = strings.Cut(rest, ".")
	return number(first), number(rest)
}

func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}
