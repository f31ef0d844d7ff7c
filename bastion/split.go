package bastion

import "strings"

// splitCommand takes a command line apart as a POSIX shell would, with quotes
// and backslashes (POSIX.1-2017, Shell Command Language, section 2.2), and
// nothing else of a shell: no variables, globs, comments or operators. Errors
// are for the user.
func splitCommand(line string) ([]string, error) {
	var args []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n', '\r':
			if inWord {
				args = append(args, word.String())
				word.Reset()
				inWord = false
			}
		case '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, refusal("The command has an opening ' without a closing one.")
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			inWord = true
		case '"':
			n, ok := unquote(&word, line[i+1:])
			if !ok {
				return nil, refusal(`The command has an opening " without a closing one.`)
			}
			i += n
			inWord = true
		case '\\':
			if i+1 == len(line) {
				return nil, refusal("The command ends in a backslash.")
			}
			i++
			if line[i] != '\n' {
				word.WriteByte(line[i])
				inWord = true
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		args = append(args, word.String())
	}
	return args, nil
}

// unquote reads up to the closing double quote of s and returns how many bytes
// that took. Inside, a backslash quotes only what would be special there.
func unquote(word *strings.Builder, s string) (int, bool) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return i + 1, true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`\n", s[i+1]) >= 0:
			i++
			if s[i] != '\n' {
				word.WriteByte(s[i])
			}
		default:
			word.WriteByte(s[i])
		}
	}
	return 0, false
}
