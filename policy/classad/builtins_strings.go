package classad

import "strings"

func init() {
	definePure(
		builtin{name: "strcat", max: anyNumber, strict: strcat},
		builtin{name: "join", max: anyNumber, strict: join},
		builtin{name: "toUpper", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return mapText(ev, args[0], upper) }},
		builtin{name: "toLower", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return mapText(ev, args[0], lower) }},
		builtin{name: "substr", min: 2, max: 3, strict: substr},
		builtin{name: "strcmp", min: 2, max: 2, strict: func(ev *evaluator, args []Value) Value { return compareTexts(ev, args, strings.Compare) }},
		builtin{name: "stricmp", min: 2, max: 2, strict: func(ev *evaluator, args []Value) Value { return compareTexts(ev, args, compareFold) }},
		builtin{name: "split", min: 1, max: 2, strict: split},
		builtin{name: "splitUserName", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return splitAt(ev, args[0], true) }},
		builtin{name: "splitSlotName", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return splitAt(ev, args[0], false) }},
	)
}

func strcat(ev *evaluator, args []Value) Value {
	if k := worst(args...); k <= Error {
		return nothing(k)
	}
	var b strings.Builder
	for _, v := range args {
		b.WriteString(ev.asText(v))
		if b.Len() > maxString {
			return ev.fail()
		}
	}
	return ev.text(b.String())
}

// join is join(separator, item...), join(separator, list) or join(list). Undefined items are left
// out.
func join(ev *evaluator, args []Value) Value {
	sep := ""
	switch {
	case len(args) == 1 && args[0].kind == List:
		args = ev.elements(args[0])
	case len(args) > 0:
		switch args[0].kind {
		case Error:
			return errorValue
		case Undefined:
		default:
			sep = ev.asText(args[0])
		}
		args = args[1:]
		if len(args) == 1 && args[0].kind == List {
			args = ev.elements(args[0])
		}
	}
	var b strings.Builder
	first := true
	for _, v := range args {
		if v.kind == Error {
			return errorValue
		}
		if v.kind == Undefined {
			continue
		}
		if !first {
			b.WriteString(sep)
		}
		first = false
		b.WriteString(ev.asText(v))
		if b.Len() > maxString {
			return ev.fail()
		}
	}
	return ev.text(b.String())
}

func mapText(ev *evaluator, v Value, f func(string) string) Value {
	if v.kind <= Error {
		return v
	}
	return ev.text(f(ev.asText(v)))
}

// substr counts a negative offset from the end; a negative length leaves so many off at the end.
func substr(_ *evaluator, args []Value) Value {
	if k := worst(args...); k <= Error {
		return nothing(k)
	}
	if args[0].kind != String || args[1].kind != Integer || len(args) == 3 && args[2].kind != Integer {
		return errorValue
	}
	s := args[0].text()
	size := int64(len(s))
	start := args[1].int()
	if start < 0 {
		start = max(0, size+max(start, -size))
	}
	start = min(start, size)
	end := size
	if len(args) == 3 {
		if n := args[2].int(); n < 0 {
			end = max(start, size+max(n, -size))
		} else {
			end = start + min(n, size-start)
		}
	}
	return stringValue(s[start:end])
}

// compareTexts gives -1, 0 or 1.
func compareTexts(ev *evaluator, args []Value, cmp func(a, b string) int) Value {
	if k := worst(args...); k <= Error {
		return nothing(k)
	}
	switch c := cmp(ev.asText(args[0]), ev.asText(args[1])); {
	case c < 0:
		return intValue(-1)
	case c > 0:
		return intValue(1)
	}
	return intValue(0)
}

// split cuts a string at each separator. Blanks around a field, and fields without text at either
// end, are left out; those in between are kept.
func split(ev *evaluator, args []Value) Value {
	seps := ", \t\n\r"
	if len(args) == 2 {
		if args[1].kind != String {
			return errorValue
		}
		seps = args[1].text()
	}
	if args[0].kind != String {
		return errorValue
	}
	set := byteSetOf(seps)
	s := args[0].text()
	for s != "" && set[s[0]] {
		s = s[1:]
	}
	for s != "" && set[s[len(s)-1]] {
		s = s[:len(s)-1]
	}
	var items []string
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && !set[s[i]] {
			i++
		}
		items = append(items, s[start:i])
		i++
		for i < len(s) && isBlank(s[i]) && set[s[i]] {
			i++
		}
	}
	return ev.strings(items)
}

func isBlank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// splitAt cuts a name at its first @. A name without one is the part before it for users, and the
// part after it for slots.
func splitAt(ev *evaluator, v Value, user bool) Value {
	if v.kind != String {
		return errorValue
	}
	before, after, found := strings.Cut(v.text(), "@")
	if !found && !user {
		before, after = "", before
	}
	return ev.strings([]string{before, after})
}
