package classad

func init() {
	is := func(name string, kinds ...Kind) builtin {
		return builtin{name: name, min: 1, max: 1, eval: func(ev *evaluator, sc *scope, args []node) Value {
			v := ev.eval(args[0], sc)
			for _, k := range kinds {
				if v.kind == k {
					return boolValue(true)
				}
			}
			return boolValue(false)
		}}
	}
	define(
		is("isUndefined", Undefined), is("isError", Error), is("isString", String), is("isInteger", Integer),
		is("isReal", Real), is("isList", List), is("isClassAd", AdKind), is("isBoolean", Boolean),
		is("isAbsTime", AbsTime), is("isRelTime", RelTime),
	)
}
