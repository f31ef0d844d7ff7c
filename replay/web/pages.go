package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
	"unicode"

	"sallyport/policy"
)

//go:embed templates
var templates embed.FS

// pages are the parsed templates, by name.
type pages struct {
	byName map[string]*template.Template
	player bool // the player was built
}

// message is what the template "message" shows.
type message struct{ Heading, Text, Link, LinkText string }

// frame is what every template gets.
type frame struct {
	Who  *signedIn // nil for nobody
	Data any
}

func loadPages(files assets) (*pages, error) {
	p := &pages{byName: map[string]*template.Template{}, player: files.address("dist/player.js") != ""}
	for _, name := range []string{"list", "session", "message", "logout"} {
		t, err := template.New("base.html").Option("missingkey=error").Funcs(template.FuncMap{
			"asset":    files.address,
			"visible":  visible,
			"clip":     clip,
			"user":     userName,
			"utc":      utc,
			"iso":      iso,
			"duration": duration,
			"clock":    clock,
			"size":     size,
			"outcome":  outcome,
			"what":     what,
		}).ParseFS(templates, "templates/base.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		p.byName[name] = t
	}
	return p, nil
}

// render answers with a page. It is made whole before any of it is sent.
func (s *server) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.byName[name].Execute(&b, frame{Who: current(r), Data: data}); err != nil {
		s.Log.Error("web page cannot be made", "page", name, "error", err)
		plain(w, http.StatusInternalServerError, "The server could not make this page. Its log says why.\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// visible makes what somebody else chose safe to show in a line: control
// characters, and those that change the direction or hide the text around
// them, appear as their code instead of having their effect.
func visible(s string) string {
	plain := true
	for _, c := range s {
		if hides(c) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		switch {
		case !hides(c):
			b.WriteRune(c)
		case c < 0x20:
			b.WriteRune('\u2400' + c) // the control pictures
		default:
			fmt.Fprintf(&b, "\\u%04x", c)
		}
	}
	return b.String()
}

func hides(c rune) bool {
	return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029' || c == unicode.ReplacementChar
}

// clip returns at most n runes of s, visibly cut.
func clip(n int, s string) string {
	if len(s) <= n {
		return s
	}
	i := 0
	for at := range s {
		if i == n {
			return s[:at] + "…"
		}
		i++
	}
	return s
}

func utc(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// duration is d for people: "0.4 s", "12 s", "3 min 05 s", "1 h 02 min".
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Truncate(time.Second).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// clock is a position in a recording: "1:02:03.4" or "02:03.4".
func clock(d time.Duration) string {
	d = d.Truncate(100 * time.Millisecond)
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, (d % time.Minute).Seconds()
	if h > 0 {
		return fmt.Sprintf("%d:%02d:%04.1f", h, m, s)
	}
	return fmt.Sprintf("%02d:%04.1f", m, s)
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "KMGTPE"
	for i := range units {
		if v /= 1024; v < 1024 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %ciB", v, units[i])
		}
	}
	return ""
}

// ending is how a session came out, in a word or two and a class for it.
type ending struct{ Text, Class string }

func outcome(r policy.Recording) ending {
	end := r.Summary.End
	switch {
	case r.Summary.State == policy.RecordingOpen:
		return ending{"live", "live"}
	case r.Summary.State == policy.RecordingInterrupted:
		return ending{"interrupted", "bad"}
	case end.ExitSignal != "":
		return ending{"SIG" + visible(clip(20, end.ExitSignal)), "warn"}
	case end.ExitStatus != nil && *end.ExitStatus == 0:
		return ending{"exit 0", "good"}
	case end.ExitStatus != nil:
		return ending{fmt.Sprintf("exit %d", *end.ExitStatus), "warn"}
	default:
		return ending{"ended", "plain"}
	}
}

// what says what the session was for: a shell, or the command.
func what(s policy.Session) string {
	if s.Command != "" {
		return visible(s.Command)
	}
	return string(s.Action)
}

// sentence makes an error's text one: a capital first, a full stop last.
func sentence(s string) string {
	r := []rune(visible(clip(500, s)))
	if len(r) == 0 {
		return ""
	}
	r[0] = unicode.ToUpper(r[0])
	if last := r[len(r)-1]; last != '.' && last != '?' && last != '!' {
		r = append(r, '.')
	}
	return string(r)
}
