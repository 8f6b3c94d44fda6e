package job

import (
	"time"

	"skua/policy/classad"
)

// A View gives the current ads of jobs one after another, each good until the next is asked for. Where the jobs
// are like each other it changes the ad before rather than making one, which is many times faster than
// [Job.CurrentAd] and gives the same. It belongs to one goroutine.
type View struct {
	ad    *classad.Ad
	names []string // that the ad has of its own
	next  int      // the one that is due
	same  bool     // so far the attributes come in the order of names

	cluster *Cluster // if not nil, ad is that of a fresh job of it
	state   State
	entered time.Time
}

// Of gives the ad of a job as [Job.CurrentAd] does, until Of is called again. It must not be changed or kept.
func (v *View) Of(j *Job) *classad.Ad {
	if j.fresh != nil && j.fresh == v.cluster && j.State == v.state && j.Entered.Equal(v.entered) {
		// Fresh jobs of one cluster differ in nothing else.
		v.ad.SetInt(attrProcID, int64(j.ID.Proc))
		v.ad.SetParent(j.Ad)
		return v.ad
	}
	v.next, v.same = 0, v.ad != nil
	if v.same {
		v.ad.SetParent(j.Ad)
		j.current(v)
	}
	if !v.same || v.next != len(v.names) {
		v.ad = j.CurrentAd()
		v.names = v.ad.Names()
	}
	v.cluster, v.state, v.entered = j.fresh, j.State, j.Entered
	return v.ad
}

// due says whether an attribute is the next one of the ad at hand.
func (v *View) due(name string) bool {
	v.same = v.same && v.next < len(v.names) && v.names[v.next] == name
	v.next++
	return v.same
}

// SetInt and the others implement attributes.
func (v *View) SetInt(name string, i int64) {
	if v.due(name) {
		v.ad.SetInt(name, i)
	}
}

// SetReal implements attributes.
func (v *View) SetReal(name string, f float64) {
	if v.due(name) {
		v.ad.SetReal(name, f)
	}
}

// SetString implements attributes.
func (v *View) SetString(name, s string) {
	if v.due(name) {
		v.ad.SetString(name, s)
	}
}

// SetBool implements attributes.
func (v *View) SetBool(name string, b bool) {
	if v.due(name) {
		v.ad.SetBool(name, b)
	}
}

// Set implements attributes.
func (v *View) Set(name string, e *classad.Expr) {
	if v.due(name) {
		v.ad.Set(name, e)
	}
}
