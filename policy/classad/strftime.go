package classad

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats t as C's function of that name does in the C locale. A conversion that C does not
// know is printed as it stands.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format) && b.Len() <= maxString; i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if (format[i] == 'E' || format[i] == 'O') && i+1 < len(format) {
			i++ // modifiers that the C locale ignores
		}
		convert(&b, t, format[i])
	}
	return b.String()
}

// layouts are the conversions that Go's time package can do.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan",
	'c': "Mon Jan _2 15:04:05 2006", 'D': "01/02/06", 'd': "02", 'e': "_2", 'F': "2006-01-02",
	'H': "15", 'I': "03", 'j': "002", 'M': "04", 'm': "01", 'p': "PM", 'P': "pm", 'R': "15:04",
	'r': "03:04:05 PM", 'S': "05", 'T': "15:04:05", 'X': "15:04:05", 'x': "01/02/06", 'y': "06",
	'Y': "2006", 'Z': "MST", 'z': "-0700",
}

func convert(b *strings.Builder, t time.Time, c byte) {
	if layout, ok := layouts[c]; ok {
		b.WriteString(t.Format(layout))
		return
	}
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	weekday := int(t.Weekday())
	switch c {
	case '%':
		b.WriteByte('%')
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'C':
		fmt.Fprintf(b, "%02d", t.Year()/100)
	case 'G':
		fmt.Fprint(b, isoYear)
	case 'g':
		fmt.Fprintf(b, "%02d", isoYear%100)
	case 'k':
		fmt.Fprintf(b, "%2d", t.Hour())
	case 'l':
		fmt.Fprintf(b, "%2d", hour12)
	case 's':
		fmt.Fprint(b, t.Unix())
	case 'U':
		fmt.Fprintf(b, "%02d", (t.YearDay()-1+7-weekday)/7)
	case 'u':
		fmt.Fprint(b, (weekday+6)%7+1)
	case 'V':
		fmt.Fprintf(b, "%02d", isoWeek)
	case 'W':
		fmt.Fprintf(b, "%02d", (t.YearDay()-1+7-(weekday+6)%7)/7)
	case 'w':
		fmt.Fprint(b, weekday)
	default:
		b.WriteByte('%')
		b.WriteByte(c)
	}
}
