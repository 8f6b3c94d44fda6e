package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Apps are names of programs, in lower case, each once.
type Apps []string

const (
	mostApps   = 64
	longestApp = 64
)

// UnmarshalTOML takes a list of names.
func (a *Apps) UnmarshalTOML(list any) error {
	values, ok := list.([]any)
	if !ok {
		return errors.New(`must be a list of programs' names, such as ["zoom", "obs"]`)
	}
	if len(values) > mostApps {
		return fmt.Errorf("has more than %d programs", mostApps)
	}
	var apps Apps
	for _, v := range values {
		name, ok := v.(string)
		name = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".exe")
		if !ok || name == "" || len(name) > longestApp || strings.ContainsFunc(name, func(r rune) bool {
			return r < ' ' || r == 0x7f || strings.ContainsRune(`,"\/`, r)
		}) {
			return fmt.Errorf(`%q is not a program's name: write one like "zoom", without directory`, v)
		}
		if !slices.Contains(apps, name) {
			apps = append(apps, name)
		}
	}
	*a = apps
	return nil
}

// rule keeps jobs from running beside one of the programs. A machine that cannot tell what runs has all
// of them running.
func (a Apps) rule() rule {
	if len(a) == 0 {
		return rule{}
	}
	running := fmt.Sprintf(`stringListsIntersect("%s", RunningApps, ",")`, strings.Join(a, ","))
	return rule{may: running + " =?= false", stop: running + " =!= false"}
}
