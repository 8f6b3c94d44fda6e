package startd

import (
	"errors"
	"path/filepath"

	"skua/agent/checkpoint"
	"skua/agent/starter"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// Whether an image can go on here is decided before it is offered: the matchmaker compares what it needs with
// the machine's ad. The agent looks again, since the ad tells of files only that somebody has asked for, and
// may be older than the files.

// SystemFiles knows the files of the machine that images rely on. *probe.SystemFiles does.
type SystemFiles interface {
	// ID tells what a file is, "" if nobody knows. Only if whole is true a file is read for that.
	ID(path string, whole bool) fit.ID
	// Ask has files told in the ad from now on, and reports whether some were not so far.
	Ask(paths []string) (news bool)
	// Set tells them.
	Set(ad *classad.Ad)
}

// errUnfit says that an image cannot go on on this machine and is as good as before.
var errUnfit = errors.New("unfit machine")

// unfitError is an errUnfit with the reason in plain words.
type unfitError string

// Error implements error.
func (e unfitError) Error() string { return string(e) }

// Is implements what errors.Is asks.
func (unfitError) Is(target error) bool { return target == errUnfit }

// misfit says in plain words why an image with such needs cannot go on here; "" if it can. The files that are in
// the way are in the machine's ad from then on, so that no other image is offered that needs what this one
// does.
func (d *Daemon) misfit(n *fit.Needs, whole bool) string {
	if n == nil {
		return ""
	}
	features, _ := d.facts.Load().Str(fit.AttrFeatures)
	m := n.On(fit.ParseFeatures(features), func(path string) fit.ID { return d.fileID(path, whole) })
	if d.cfg.System != nil && d.cfg.System.Ask(m.Paths()) {
		d.setFacts(nil)
		d.advertiseNow()
	}
	return m.String()
}

// fileID tells what a file of the machine is, "" if nobody knows. Whoever makes an image names the files, and an agent may
// be able to read more than its jobs: of what is not there for every job to see, nothing is said, not even whether it is
// there.
func (d *Daemon) fileID(path string, whole bool) fit.ID {
	if d.cfg.System == nil || !starter.OfSystem(path) {
		return ""
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && !starter.OfSystem(real) {
		return ""
	}
	return d.cfg.System.ID(path, whole)
}

// misfitOf says why the image from which an offered job would go on cannot go on here.
func (d *Daemon) misfitOf(offer wire.Offer) string {
	if len(offer.Images) == 0 || offer.Images[0].Kind != job.CRIUImage {
		return ""
	}
	return d.misfit(offer.Images[0].Fit, false)
}

// checkFit looks at an image that has been fetched: the files are read now if need be, and the image itself
// names those that the log has no room for.
func (t *tenant) checkFit(in Init, img job.Image) error {
	if why := t.k.d.misfit(img.Fit, true); why != "" {
		return unfitError(why)
	}
	m, err := checkpoint.ReadMeta(in.ImageDir())
	if err != nil {
		return err
	}
	if why := t.k.d.misfit(&m.Needs, false); why != "" {
		return unfitError(why)
	}
	return nil
}

// needsOf is what an image that has been made here needs, as the matchmaker is told.
func (d *Daemon) needsOf(m checkpoint.Meta) *fit.Needs {
	n := m.Needs
	if len(n.Features) == 0 { // of an init from before an upgrade of the agent
		features, _ := d.facts.Load().Str(fit.AttrFeatures)
		n.Features = fit.ParseFeatures(features)
	}
	n = n.Trim()
	for i, f := range n.Files {
		if f.ID.Unread() {
			if id := d.fileID(f.Path, true); f.ID.Fits(id) {
				n.Files[i].ID = id
			}
		}
	}
	n = n.Trim() // the IDs are longer now
	return &n
}
