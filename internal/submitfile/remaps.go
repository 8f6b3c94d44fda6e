package submitfile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"skua/internal/job"
	"skua/policy/classad"
)

func buildRemaps(p *proc) error {
	t, err := p.transfers()
	if err != nil {
		return err
	}
	if v := t.remaps; v.set() {
		inner := unquote(v.text)
		if inner == v.text {
			return problem(v.at, fmt.Sprintf("transfer_output_remaps = %q", strings.Trim(v.text, `"`)),
				"transfer_output_remaps = %s must stand in double quotes", clip(v.text))
		}
		if err := p.checkRemaps(t, v, "transfer_output_remaps", inner); err != nil {
			return err
		}
		if inner != "" {
			p.setString("TransferOutputRemaps", inner)
		}
	}
	v, err := p.get("MY.TransferOutputRemaps")
	if err != nil || !v.set() {
		return err
	}
	e, err := classad.ParseOldExpr(v.text)
	if err != nil {
		return nil // which is said where the attribute is set
	}
	switch val := e.Eval(classad.NewAd(), nil); val.Kind() {
	case classad.String:
		inner, _ := val.Str()
		return p.checkRemaps(t, v, "+TransferOutputRemaps", inner)
	case classad.Undefined: // of no value, or of other attributes
		return nil
	}
	return p.e.d.refuse(v.at, `+TransferOutputRemaps = "file = place"`, "+TransferOutputRemaps = %s must stand in double quotes", clip(v.text))
}

// checkRemaps refuses what no output can follow.
func (p *proc) checkRemaps(t transfers, v value, name, text string) error {
	for _, r := range job.RemapsOf(text) {
		if r.Name == "" || r.Place == "" {
			if err := p.e.d.refuse(v.at, `each part is "file = place"`, "%s: %q", name, clip(r.Text)); err != nil {
				return err
			}
		}
		if scheme := urlScheme(r.Place); scheme != "" {
			err := p.e.d.refuse(v.at, "name a file or a directory of yours; what belongs elsewhere the job can send itself, or you when it is here",
				"%s: %q: outputs that go to %s:// are %w", name, clip(strings.TrimSpace(r.Text)), scheme, ErrUnsupported)
			if err != nil {
				return err
			}
		}
		if t.outFiles != nil && !slices.ContainsFunc(t.outFiles, func(output string) bool { return moves(r, output) }) {
			p.note(v.at, fmt.Sprintf("%s moves %s, which transfer_output_files does not name", name, r.Name))
		}
	}
	return nil
}

// moves reports whether a remap says something about an output, or of what is in one.
func moves(r job.Remap, output string) bool {
	return output == r.Name || path.Base(output) == r.Name || strings.HasPrefix(r.Name, strings.TrimSuffix(output, "/")+"/")
}
