package term

import (
	"strings"
	"testing"

	"sallyport/recorder/cast"
)

func TestStatusSaysWhenTheRecordingDoesNotFit(t *testing.T) {
	src := seconds("a", "b")
	src.events = append(src.events[:1:1], cast.Event{Code: cast.CodeResize, Data: "132x50"}, src.events[1])
	if _, out := pressed(t, src, keyRight, " "); !strings.Contains(out, "the end  recorded at 132x50  (") {
		t.Errorf("%q", out)
	}
	src.events[1].Data = "80x24 or \x1b[2J"
	if _, out := pressed(t, src, keyRight, " "); strings.Contains(out, "recorded at") {
		t.Errorf("%q", out)
	}
}
