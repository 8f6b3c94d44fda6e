package policy

import "slices"

// combineHours gives the times that both files let jobs run in.
//
// A day that is a holiday for one file only has its hours of a holiday there and those of a working day
// by the other file. Where both files name holidays, and not the same, such days cannot be told from
// those that are holidays for both: jobs then run on all of them only in the times that are in all hours.
func combineHours(c, l Hours) Hours {
	out := Hours{Run: common(c.Run, l.Run)}
	switch {
	case slices.Equal(c.Holidays, l.Holidays):
		out.Holidays, out.RunOnHolidays = c.Holidays, common(c.RunOnHolidays, l.RunOnHolidays)
	case len(l.Holidays) == 0:
		out.Holidays, out.RunOnHolidays = c.Holidays, common(c.RunOnHolidays, l.Run)
	case len(c.Holidays) == 0:
		out.Holidays, out.RunOnHolidays = l.Holidays, common(c.Run, l.RunOnHolidays)
	default:
		out.Holidays = union(c.Holidays, l.Holidays)
		out.RunOnHolidays = common(common(c.RunOnHolidays, l.RunOnHolidays), out.Run)
	}
	return out
}

// common gives the times that are in both lists, of which an empty one is all times. If there are none
// it is the one span that has no days.
func common(a, b []Span) []Span {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0 || slices.Equal(a, b):
		return a
	}
	inA, inB := weekOf(a), weekOf(b)
	for d := range inA {
		for m := range inA[d] {
			inA[d][m] = inA[d][m] && inB[d][m]
		}
	}
	return inA.spans()
}

// week has every minute of the week, from Sunday.
type week [7][dayMinutes]bool

// weekOf marks the minutes that are in one of the spans.
func weekOf(spans []Span) *week {
	w := new(week)
	for _, s := range spans {
		for d, in := range s.Days {
			switch {
			case !in:
			case s.From < s.To:
				w.mark(d, s.From, s.To)
			default:
				w.mark(d, s.From, dayMinutes)
				w.mark((d+1)%7, 0, s.To)
			}
		}
	}
	return w
}

func (w *week) mark(day, from, to int) {
	for m := from; m < to; m++ {
		w[day][m] = true
	}
}

// spans lists what is marked, the days together that have the same times.
func (w *week) spans() []Span {
	var out []Span
	add := func(day, from, to int) {
		i := slices.IndexFunc(out, func(s Span) bool { return s.From == from && s.To == to })
		if i < 0 {
			i = len(out)
			out = append(out, Span{From: from, To: to})
		}
		out[i].Days[day] = true
	}
	for day := range w {
		for m := 0; m < dayMinutes; m++ {
			from := m
			for m < dayMinutes && w[day][m] {
				m++
			}
			if m > from {
				add(day, from, m)
			}
		}
	}
	if out == nil {
		return []Span{{}}
	}
	return out
}
