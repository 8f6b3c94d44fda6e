package submitfile

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// remap says where an output is to go: "name = place; name = place", in quotes.
type remap struct {
	part, name, place string
}

// remaps splits the value of transfer_output_remaps. A semicolon after a backslash does not separate.
func remaps(text string) []remap {
	var out []remap
	for _, part := range strings.Split(strings.ReplaceAll(unquote(text), `\;`, "\x00"), ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		part = strings.ReplaceAll(part, "\x00", ";")
		name, place, _ := strings.Cut(part, "=")
		out = append(out, remap{part, strings.TrimSpace(name), strings.TrimSpace(place)})
	}
	return out
}

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
	for _, r := range remaps(v.text) {
		if r.name == "" || r.place == "" {
			if err := p.e.d.refuse(v.at, `each part is "file = place"`, "transfer_output_remaps: %q", clip(r.part)); err != nil {
				return err
			}
		}
		if scheme := urlScheme(r.place); scheme != "" {
			err := p.e.d.refuse(v.at, "name a file or a directory of yours; what belongs elsewhere the job can send itself, or you when it is here",
				"transfer_output_remaps: %q: outputs that go to %s:// are %w", clip(strings.TrimSpace(r.part)), scheme, ErrUnsupported)
			if err != nil {
				return err
			}
		}
		if t.outFiles != nil && !slices.ContainsFunc(t.outFiles, r.moves) {
			p.note(v.at, fmt.Sprintf("transfer_output_remaps moves %s, which transfer_output_files does not name", r.name))
		}
	}
	if inner != "" {
		p.setString("TransferOutputRemaps", inner)
	}
	return nil
}

// moves reports whether a remap says something about an output, or of what is in one.
func (r remap) moves(output string) bool {
	return output == r.name || path.Base(output) == r.name || strings.HasPrefix(r.name, strings.TrimSuffix(output, "/")+"/")
}
