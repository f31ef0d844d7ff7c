package sealed

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"sallyport/recorder/cast"
)

var testID = ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// story is a few events of each kind.
func story() []Event {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	return []Event{
		{Time: ms(1), Code: cast.CodeOutput, Raw: []byte("$ ")},
		{Time: ms(5), Code: cast.CodeInput, Raw: []byte("ls\xff\r")},
		{Time: ms(6), Code: cast.CodeOutput, Raw: []byte("ls\xff\r\n")},
		{Time: ms(9), Code: cast.CodeOutput, Raw: []byte("key=SECRET\xfe\r\n"), View: []byte("key=******\xfe\r\n"),
			Masks: []string{`{"rule":"a","off":4,"len":6,"cells":6}`}},
		{Time: ms(9), Code: cast.CodeResize, Text: "80x24"},
		{Time: ms(12), Code: cast.CodeStderr, Raw: []byte("oh")},
		{Time: ms(13), Code: cast.CodeInput, Raw: []byte("typed")},
		{Time: ms(14), Code: cast.CodeOutput, Raw: []byte("late"), Undecided: true},
		{Time: ms(15), Code: cast.CodeInput, Raw: []byte{}},
		{Time: ms(20), Code: cast.CodeExit, Text: "0"},
	}
}

// sealEvents makes a segment of blocks of events.
func sealEvents(t testing.TB, k Keys, blocks ...[]Event) ([]byte, Info) {
	t.Helper()
	w := NewWriter(testID, 3, [32]byte{9}, k)
	w.Context([]byte(`{"session":1}`))
	w.Keyframe([]byte("\x1b[2J"))
	for _, b := range blocks {
		if err := w.Block(b); err != nil {
			t.Fatal(err)
		}
	}
	object, info, err := w.Finish(7, 20)
	if err != nil {
		t.Fatal(err)
	}
	return object, info
}

func openBytes(t testing.TB, b []byte) *Segment {
	t.Helper()
	s, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSegmentRoundTrip(t *testing.T) {
	k := NewKeys()
	object, info := sealEvents(t, k, story(), story()[:1])
	s := openBytes(t, object)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	want := info
	want.SHA256 = [32]byte{}
	if got := s.Info(); got != want {
		t.Errorf("info %+v, want %+v", got, want)
	}
	if info.OutputBytes != 26 || info.StderrBytes != 2 || info.InputBytes != 9 || info.Masks != 1 || info.Events != 11 {
		t.Errorf("counts of %+v", info)
	}
	got, err := s.Events(0, k)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, story()) {
		t.Errorf("events\n%+v\nwant\n%+v", got, story())
	}
	if c, err := s.Context(k); err != nil || string(c) != `{"session":1}` {
		t.Errorf("context %q, %v", c, err)
	}
	if f, err := s.Keyframe(k); err != nil || string(f) != "\x1b[2J" {
		t.Errorf("keyframe %q, %v", f, err)
	}
}

// TestViewTrackPlays: with a header before it, a view track is an asciicast.
func TestViewTrackPlays(t *testing.T) {
	k := NewKeys()
	object, _ := sealEvents(t, k, story())
	s := openBytes(t, object)
	e := &s.foot.index[0]
	lines, err := openTrack(newGCM(k.View, s.rawHead, infoView), s.frame(0), frameView, object[e.at:e.at+e.view], e,
		func(plain []byte, _ frameHeader) ([]byte, error) { return bytes.Clone(plain), nil })
	if err != nil {
		t.Fatal(err)
	}
	header, err := cast.AppendHeader(nil, cast.Header{Version: 3, Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	r, err := cast.NewReader(bytes.NewReader(append(header, lines...)))
	if err != nil {
		t.Fatal(err)
	}
	codes := ""
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		codes += string(rune(e.Code))
		if bytes.Contains([]byte(e.Data), []byte("SECRET")) {
			t.Errorf("event %+v", e)
		}
	}
	if codes != "obokboregx" {
		t.Errorf("events %s", codes)
	}
}
