package negotiate

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"skua/internal/fit"
	"skua/internal/why"
)

// misfits says what machines lack that the checkpoint of a group's jobs needs, of those machines of which the
// best verdict is that it does not fit. It looks at what the expression does, attribute by attribute.
func (c *cycle) misfits(g *group, best []verdict) []why.Misfit {
	features, _ := g.sample.Str(fit.AttrJobFeatures)
	files, _ := g.sample.Str(fit.AttrJobFiles)
	needs := fit.Needs{Features: fit.ParseFeatures(features), Files: fit.ParseFiles(files)}
	list, _ := g.sample.Str(fit.AttrJobFailed)
	failed := strings.Split(list, ",")
	lacking, other := map[string][]int{}, map[string][]int{} // machines by feature and by file
	tried := 0                                               // on which it has failed
	last := -1
	for i := range c.slots {
		m := c.machine[i]
		if m == last || best[m] != unfit || g.verdicts[i] != unfit {
			continue
		}
		last = m
		if slices.ContainsFunc(failed, func(name string) bool { return strings.EqualFold(name, c.slots[i].Machine) }) {
			tried++
			continue
		}
		has, _ := c.slots[i].Ad.Str(fit.AttrFeatures)
		misfit := needs.On(fit.ParseFeatures(has), func(path string) fit.ID {
			id, _ := c.slots[i].Ad.Str(fit.Attr(path))
			return fit.ID(id)
		})
		for _, f := range misfit.Features {
			lacking[f] = append(lacking[f], m)
		}
		for _, f := range misfit.Files {
			other[f.Path] = append(other[f.Path], m)
		}
	}
	var all []why.Misfit
	if names, machines := together(lacking); machines > 0 {
		beyond, _ := g.sample.Str(fit.AttrJobBeyond)
		all = append(all, why.Misfit{Machines: machines, Features: names, Beyond: beyond})
	}
	if paths, machines := together(other); machines > 0 {
		all = append(all, why.Misfit{Machines: machines, File: telling(paths), More: len(paths) - 1})
	}
	if tried > 0 {
		all = append(all, why.Misfit{Machines: tried, Failed: true})
	}
	slices.SortStableFunc(all, func(a, b why.Misfit) int { return cmp.Compare(b.Machines, a.Machines) })
	if len(all) > 1 && all[0].Machines == c.countBest(best, unfit) {
		all = all[:1] // which is the whole answer
	}
	return all
}

// telling gives of several files the one by which people know what differs: systems with other C libraries have other
// loaders, too, and nobody knows those.
func telling(paths []string) string {
	if i := slices.IndexFunc(paths, func(p string) bool { return strings.HasPrefix(path.Base(p), "libc.") }); i >= 0 {
		return paths[i]
	}
	return paths[0]
}

// together gives the names that most machines share, all of those that belong to the same machines, in order.
func together(by map[string][]int) (names []string, machines int) {
	alike := map[string][]string{}
	for name, ms := range by {
		key := fmt.Sprint(ms)
		alike[key] = append(alike[key], name)
	}
	for _, key := range slices.Sorted(maps.Keys(alike)) {
		if n := len(by[alike[key][0]]); n > machines || n == machines && len(alike[key]) > len(names) {
			names, machines = alike[key], n
		}
	}
	slices.Sort(names)
	return names, machines
}

func (c *cycle) countBest(best []verdict, v verdict) (n int) {
	for _, b := range best {
		if b == v {
			n++
		}
	}
	return n
}
