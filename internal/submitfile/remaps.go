package submitfile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"skua/internal/job"
)

func buildRemaps(p *proc) error {
	t, err := p.transfers()
	if err != nil || !t.remaps.set() {
		return err
	}
	v := t.remaps
	inner := unquote(v.text)
	if inner == v.text {
		return problem(v.at, fmt.Sprintf("transfer_output_remaps = %q", strings.Trim(v.text, `"`)),
			"transfer_output_remaps = %s must stand in double quotes", clip(v.text))
	}
	for _, r := range job.RemapsOf(inner) {
		if r.Name == "" || r.Place == "" {
			if err := p.e.d.refuse(v.at, `each part is "file = place"`, "transfer_output_remaps: %q", clip(r.Text)); err != nil {
				return err
			}
		}
		if scheme := urlScheme(r.Place); scheme != "" {
			err := p.e.d.refuse(v.at, "name a file or a directory of yours; what belongs elsewhere the job can send itself, or you when it is here",
				"transfer_output_remaps: %q: outputs that go to %s:// are %w", clip(strings.TrimSpace(r.Text)), scheme, ErrUnsupported)
			if err != nil {
				return err
			}
		}
		if t.outFiles != nil && !slices.ContainsFunc(t.outFiles, func(output string) bool { return moves(r, output) }) {
			p.note(v.at, fmt.Sprintf("transfer_output_remaps moves %s, which transfer_output_files does not name", r.Name))
		}
	}
	if inner != "" {
		p.setString("TransferOutputRemaps", inner)
	}
	return nil
}

// moves reports whether a remap says something about an output, or of what is in one.
func moves(r job.Remap, output string) bool {
	return output == r.Name || path.Base(output) == r.Name || strings.HasPrefix(r.Name, strings.TrimSuffix(output, "/")+"/")
}
