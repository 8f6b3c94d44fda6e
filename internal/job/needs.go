package job

import (
	"strings"
	"sync"

	"skua/internal/fit"
	"skua/policy/classad"
)

// tell sets what machines must have for the job to go on from the image.
func (i *Image) tell(ad attributes) {
	if n := i.Fit; n != nil {
		if len(n.Features) > 0 {
			ad.SetString(fit.AttrJobFeatures, fit.FeatureList(n.Features))
		}
		if len(n.Files) > 0 {
			ad.SetString(fit.AttrJobFiles, n.FileList())
		}
		if n.Baseline != "" {
			ad.SetString(fit.AttrJobBaseline, string(n.Baseline))
		}
		if n.Beyond != "" {
			ad.SetString(fit.AttrJobBeyond, n.Beyond)
		}
	}
	if len(i.Failed) > 0 {
		ad.SetString(fit.AttrJobFailed, strings.Join(i.Failed, ","))
	}
	if e := i.Requirements(); e != nil {
		ad.Set(fit.AttrRequirements, e)
	}
}

// Requirements is what the image needs as an expression like a job's Requirements, in the job's ad as it is
// while the image is its newest; nil for nothing.
func (i *Image) Requirements() *classad.Expr {
	var parts []string
	if i.Needs != "" {
		parts = append(parts, i.Needs)
	}
	if i.Fit != nil {
		if text := i.Fit.Expr(); text != "" {
			parts = append(parts, text)
		}
	}
	if len(i.Failed) > 0 {
		parts = append(parts, "!stringListIMember(TARGET.Machine, MY."+fit.AttrJobFailed+", \",\")")
	}
	if len(parts) == 0 {
		return nil
	}
	return parsed.expr(strings.Join(parts, " && "))
}

// parsed are the expressions of images. The jobs of a cluster have few different ones, and each is asked for
// in every negotiation cycle.
var parsed exprs

// exprs keeps expressions that have been parsed, so that what is the same text is the same expression.
type exprs struct {
	mu  sync.Mutex
	all map[string]*classad.Expr // guarded by mu; nil for what is no expression
}

const maxParsed = 1024

func (x *exprs) expr(text string) *classad.Expr {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.all[text]
	if ok {
		return e
	}
	if x.all == nil || len(x.all) >= maxParsed {
		x.all = map[string]*classad.Expr{}
	}
	e, err := classad.ParseExpr(text)
	if err != nil {
		e = nil // of a log that somebody else has written: the agent finds out
	}
	x.all[text] = e
	return e
}
