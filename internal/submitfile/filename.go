package submitfile

import (
	"path"
	"strings"
)

// isFilenameFunction recognises the $F family: F and letters that say which parts are wanted.
func isFilenameFunction(name string) bool {
	return name != "" && name[0] == 'F' && strings.Trim(name[1:], "pdnxbfqauw") == ""
}

// filenameFunction takes a path apart. Parts: p the directory, d its last component (dd the last
// two), n the name without and x the extension; with p or d and x the name comes along. Then b
// without the slash or dot at the joint, f made absolute, q in double quotes, qa in single quotes, u
// and w with slashes or backslashes.
func filenameFunction(options string) function {
	has := func(c string) bool { return strings.Contains(options, c) }
	return func(x *expander, body string) (string, error) {
		text, _, err := x.valueOf(body)
		if err != nil {
			return "", err
		}
		text = x.wholePath(bare(text), options)
		var out string
		dir, file := splitPath(text, x.d.opSys())
		ext := extension(file)
		switch {
		case !has("p") && !has("d") && !has("n") && !has("x"):
			out = text
		case dir != "" && has("d"):
			out = lastDirs(dir, strings.Count(options, "d"))
		case has("p"):
			out = dir
		}
		switch {
		case has("n") && has("x"), has("x") && dir != "" && (has("p") || has("d")):
			out += file
		case has("n"):
			out += strings.TrimSuffix(file, ext)
		case has("x") && has("b"):
			out += strings.TrimPrefix(ext, ".")
		case has("x"):
			out += ext
		case has("b") && (has("p") || has("d")):
			out = strings.TrimSuffix(strings.TrimSuffix(out, "/"), `\`)
		}
		switch {
		case has("q") && has("a"):
			out = "'" + out + "'"
		case has("q"):
			out = `"` + out + `"`
		}
		return out, nil
	}
}

// wholePath makes a path absolute and turns its slashes, as the options say.
func (x *expander) wholePath(text, options string) string {
	if strings.Contains(options, "f") && !path.IsAbs(text) && x.d.opts.Dir != "" {
		text = strings.TrimSuffix(x.d.opts.Dir, "/") + "/" + strings.TrimPrefix(text, "./")
	}
	switch {
	case strings.Contains(options, "w"):
		text = strings.ReplaceAll(text, "/", `\`)
	case strings.Contains(options, "u"):
		text = strings.ReplaceAll(text, `\`, "/")
	}
	return text
}

// bare takes the quotes from around a text.
func bare(s string) string {
	if n := len(s); n > 1 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') {
		return s[1 : n-1]
	}
	return s
}

// splitPath splits a path after its last separator, which on Windows may be a backslash.
func splitPath(name, opSys string) (dir, file string) {
	separators := "/"
	if opSys == "WINDOWS" {
		separators = `/\`
	}
	i := strings.LastIndexAny(name, separators) + 1
	return name[:i], name[i:]
}

// extension is the part of a file's name from its last dot on, unless the name begins with that.
func extension(file string) string {
	if i := strings.LastIndexByte(file, '.'); i > 0 {
		return file[i:]
	}
	return ""
}

// lastDirs are the last n components of a directory that ends with a separator.
func lastDirs(dir string, n int) string {
	end := len(dir) - 1
	for i := end - 1; i >= 0; i-- {
		if dir[i] == '/' || dir[i] == '\\' {
			if n--; n == 0 {
				return dir[i+1:]
			}
		}
	}
	return dir
}
