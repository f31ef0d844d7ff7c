package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/recorder/cast"
	"sallyport/replay"
)

// The largest terminal that the player is asked to show; a larger one would
// cost the browser more than it can draw.
const (
	maxCols = 1000
	maxRows = 500
)

// events is what a cast is made of; *replay.Stream is one.
type events interface {
	Header() cast.Header
	Next() (cast.Event, error)
}

// apiCast streams a recording as asciicast v3, made for players: see castWriter.
// The parameters are view, live or raw, and from, in seconds.
func (s *server) apiCast(w http.ResponseWriter, r *http.Request, who *signedIn) {
	view, ok := parseView(r)
	from, err := parseFrom(r.URL.Query().Get("from"))
	if !ok || err != nil {
		s.fail(w, r, http.StatusBadRequest, "The parameters are view=live or view=raw, and from=SECONDS.")
		return
	}
	st, err := s.open(r, who, view, s.Library.Open)
	if err != nil {
		s.libraryFailed(w, r, err)
		return
	}
	defer st.Close()
	w.Header().Set("Content-Type", "application/x-asciicast")
	out := bufio.NewWriterSize(newParts(w), 32<<10)
	err = writeCast(out, st, st.Recording().Session, from)
	s.finish(out, r, err)
}

// open opens the recording that the path names.
func (s *server) open(r *http.Request, who *signedIn, view replay.View, open opener) (*replay.Stream, error) {
	id, err := recordingID(r)
	if err != nil {
		return nil, err
	}
	return open(r.Context(), viewer(r, who), id, view)
}

// opener is Library.Open or Library.OpenExport.
type opener func(context.Context, replay.Viewer, policy.SessionID, replay.View) (*replay.Stream, error)

// finish ends a streamed answer. After an error the connection is cut, since
// a whole answer would pass for a whole recording.
func (s *server) finish(out *bufio.Writer, r *http.Request, err error) {
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		return
	}
	if r.Context().Err() == nil {
		s.Log.Error("recording cannot be sent", "path", r.URL.Path, "error", err)
	}
	panic(http.ErrAbortHandler) // how net/http wants to be told
}

func parseFrom(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f < 1e8) {
		return 0, fmt.Errorf("from %q is no number of seconds", clip(40, text))
	}
	return time.Duration(f * float64(time.Second)), nil
}

// writeCast writes in as asciicast v3 for a player. Standard error becomes
// output; what is ours alone is left out; without a terminal, line feeds become
// CR LF, as a terminal would have shown them. What lies before from happens all
// at once at the start, so that the screen at from is right. A recording that
// was cut off ends where it was.
func writeCast(w io.Writer, in events, s policy.Session, from time.Duration) error {
	h := in.Header()
	h.Version, h.Env, h.Extra = 3, nil, nil
	h.Cols, h.Rows = shown(h.Cols, 80, maxCols), shown(h.Rows, 24, maxRows)
	line, err := cast.AppendHeader(nil, h)
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	var prev time.Duration
	lines := newlines{on: !s.TTY}
	for {
		e, err := in.Next()
		if err == io.EOF || errors.Is(err, cast.ErrTruncated) {
			return nil
		}
		if err != nil {
			return err
		}
		e.Time = max(e.Time-from, prev, 0)
		switch e.Code {
		case 'o', 'e':
			e.Code, e.Data = 'o', lines.convert(e.Data)
		case 'r':
			e.Data = shownSize(e.Data)
		case 'i', 'm', 'x':
		default:
			continue
		}
		if e.Code == 'm' && e.Time == 0 && from > 0 {
			continue // a marker before the beginning leads nowhere
		}
		line = cast.AppendEvent(line[:0], 3, prev, e)
		if _, err := w.Write(line); err != nil {
			return err
		}
		prev = e.Time
	}
}

// shown is n as a number of columns or rows that a player can show.
func shown(n, fallback, most int) int {
	if n <= 0 {
		return fallback
	}
	return min(n, most)
}

// shownSize does the same for the data of a resize, "COLSxROWS".
func shownSize(data string) string {
	c, r, _ := strings.Cut(data, "x")
	cols, _ := strconv.Atoi(c)
	rows, _ := strconv.Atoi(r)
	return fmt.Sprintf("%dx%d", shown(cols, 80, maxCols), shown(rows, 24, maxRows))
}

// newlines puts a carriage return before line feeds that have none, also when
// the two come in separate events.
type newlines struct {
	on bool
	cr bool // the last character was a carriage return
}

func (n *newlines) convert(s string) string {
	if !n.on || s == "" {
		return s
	}
	var b bytes.Buffer
	for _, c := range []byte(s) {
		if c == '\n' && !n.cr {
			b.WriteByte('\r')
		}
		b.WriteByte(c)
		n.cr = c == '\r'
	}
	return b.String()
}

// parts passes an answer on and gives the client time for each part of it.
type parts struct {
	w    io.Writer
	ctl  *http.ResponseController
	next time.Time // when the deadline is to be extended again
}

func newParts(w http.ResponseWriter) *parts {
	return &parts{w: w, ctl: http.NewResponseController(w)}
}

func (p *parts) Write(b []byte) (int, error) {
	if now := time.Now(); now.After(p.next) {
		// Some writers have no deadline; those keep what they have.
		p.ctl.SetWriteDeadline(now.Add(partTimeout))
		p.next = now.Add(time.Second)
	}
	return p.w.Write(b)
}
