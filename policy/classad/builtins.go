package classad

// A builtin is a function of the language.
type builtin struct {
	name     string // as printed
	min, max int    // number of arguments; another number gives error. max < 0: any number
	eval     func(ev *evaluator, sc *scope, args []node) Value
	// fold, if set, turns a call into another node when it is parsed.
	fold func(c *call) (node, error)
}

// builtins are the functions by lower-case name. Each file of functions adds its own.
var builtins = map[string]*builtin{}

func define(fns ...builtin) {
	for i := range fns {
		f := fns[i]
		body := f.eval
		f.eval = func(ev *evaluator, sc *scope, args []node) Value {
			if len(args) < f.min || f.max >= 0 && len(args) > f.max {
				return errorValue
			}
			return body(ev, sc, args)
		}
		builtins[lower(f.name)] = &f
	}
}
