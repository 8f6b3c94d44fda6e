package classad

func init() {
	is := func(name string, ok func(c int) bool) builtin {
		return builtin{name: name, min: 2, max: 2, strict: func(ev *evaluator, args []Value) Value {
			if k := worst(args...); k <= Error {
				return nothing(k)
			}
			return boolValue(ok(compareVersions(ev.asText(args[0]), ev.asText(args[1]))))
		}}
	}
	definePure(
		builtin{name: "versioncmp", min: 2, max: 2, strict: func(ev *evaluator, args []Value) Value {
			return compareTexts(ev, args, compareVersions)
		}},
		is("versionLT", func(c int) bool { return c < 0 }),
		is("versionLE", func(c int) bool { return c <= 0 }),
		is("versionGT", func(c int) bool { return c > 0 }),
		is("versionGE", func(c int) bool { return c >= 0 }),
		is("versionEQ", func(c int) bool { return c == 0 }),
		builtin{name: "version_in_range", min: 3, max: 3, strict: func(ev *evaluator, args []Value) Value {
			if worst(args...) <= Error {
				return errorValue
			}
			v := ev.asText(args[0])
			return boolValue(compareVersions(v, ev.asText(args[1])) >= 0 && compareVersions(v, ev.asText(args[2])) <= 0)
		}},
	)
}

// compareVersions orders strings so that numbers within them count as numbers, as glibc's strverscmp
// does. A run of digits that begins with 0 is a fraction: "1.01" comes before "1.1".
func compareVersions(a, b string) int {
	at := func(s string, i int) int {
		if i < len(s) {
			return int(s[i])
		}
		return 0
	}
	digit := func(c int) bool { return '0' <= c && c <= '9' }

	// i is the first difference, run the beginning of the digits that lead up to it.
	i, run, zeros := 0, 0, true
	for ; at(a, i) == at(b, i); i++ {
		switch c := at(a, i); {
		case i >= len(a):
			return 0
		case !digit(c):
			run, zeros = i+1, true
		case c != '0':
			zeros = false
		}
	}
	switch {
	case digit(at(a, run)) && at(a, run) != '0' && digit(at(b, run)) && at(b, run) != '0':
		for j := i; ; j++ { // whole numbers: the one with more digits is greater
			switch x, y := digit(at(a, j)), digit(at(b, j)); {
			case x && !y:
				return 1
			case y && !x:
				return -1
			case !x:
				return at(a, i) - at(b, i)
			}
		}
	case zeros && run < i && (digit(at(a, i)) || digit(at(b, i))):
		return int(byte(at(a, i)-'0')) - int(byte(at(b, i)-'0')) // digits before anything else
	}
	return at(a, i) - at(b, i)
}
