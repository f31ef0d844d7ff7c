package catalog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// recording returns the nth of a series that started a minute apart.
func recording(n int) policy.Recording {
	start := t0.Add(time.Duration(n) * time.Minute)
	status := uint32(n % 3)
	id := policy.SessionID(fmt.Sprintf("%026d", n))
	return policy.Recording{
		Session: policy.Session{
			ID: id, User: policy.User{Issuer: "https://idp", Subject: fmt.Sprint(n % 50), Name: fmt.Sprintf("User %d", n%50)},
			Target: fmt.Sprintf("db%d", n%20), Login: "root", Action: policy.ActionShell, TTY: true, Start: start,
		},
		Summary: policy.Summary{
			ID: id, State: policy.RecordingComplete, End: policy.End{ExitStatus: &status},
			Ended: start.Add(time.Minute), Duration: time.Minute, OutputBytes: 100, Events: 3,
		},
	}
}

func TestRecordingLife(t *testing.T) {
	ctx := context.Background()
	c := fresh(t)
	r := recording(1)
	r.Session.Env = map[string]string{"LANG": "C"}
	if err := c.Finish(ctx, r.Summary); !errors.Is(err, ErrNotFound) {
		t.Errorf("Finish before Begin: %v, want ErrNotFound", err)
	}
	if err := c.Begin(ctx, r.Session); err != nil {
		t.Fatal(err)
	}
	if err := c.Begin(ctx, r.Session); err == nil {
		t.Error("a second Begin of one session succeeded")
	}
	got, err := c.Recording(ctx, r.Session.ID)
	want := policy.Recording{Session: r.Session, Summary: policy.Summary{ID: r.Session.ID, State: policy.RecordingOpen}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("after Begin: %+v, %v; want %+v", got, err, want)
	}
	if err := c.Finish(ctx, r.Summary); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Recording(ctx, r.Session.ID); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("after Finish: %+v, %v; want %+v", got, err, r)
	}
	r.Session.Target = "moved"
	if err := c.PutRecording(ctx, r); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Recordings(ctx, Filter{Target: "moved"}); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], r) {
		t.Errorf("after PutRecording: %+v, %v", got, err)
	}
	if _, err := c.Recording(ctx, "../../etc/passwd"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
	if err := c.PutRecording(ctx, policy.Recording{}); err == nil {
		t.Error("a recording without an id was stored")
	}
	if err := c.PutRecording(ctx, policy.Recording{Session: r.Session, Summary: policy.Summary{ID: "other"}}); err == nil {
		t.Error("a recording with another's summary was stored")
	}
}

func TestFilter(t *testing.T) {
	ctx := context.Background()
	c := fresh(t)
	hostile := recording(3)
	hostile.Session.User = policy.User{Issuer: "i", Subject: "x", Name: `Robert'); DROP TABLE index_recordings;--`, Email: "bobby@example.com"}
	hostile.Session.Target = `100%_of!db`
	hostile.Session.Command = "cat \x00/etc/\xff<script>alert(1)</script> ÅNGSTRÖM"
	hostile.Summary.State = policy.RecordingInterrupted
	for _, r := range []policy.Recording{recording(1), recording(2), hostile, recording(4)} {
		if err := c.PutRecording(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	at := func(n int) time.Time { return recording(n).Session.Start }
	for _, tt := range []struct {
		name string
		f    Filter
		want string
	}{
		{"all, newest first", Filter{}, "4321"},
		{"user by name", Filter{User: "user 1"}, "1"},
		{"user by e-mail, any case", Filter{User: "BOBBY@"}, "3"},
		{"user by principal", Filter{User: string(hostile.Session.User.Principal())}, "3"},
		{"target", Filter{Target: "db"}, "4321"},
		{"text in the target", Filter{Text: "db2"}, "2"},
		{"text in the login", Filter{Text: "ROOT"}, "4321"},
		{"text in the id", Filter{Text: string(recording(4).Session.ID)}, "4"},
		{"text in the command, past a NUL", Filter{Text: "<script>"}, "3"},
		{"text beyond ASCII, any case", Filter{Text: "ångström"}, "3"},
		{"SQL in the filter", Filter{User: `Robert'); DROP TABLE`}, "3"},
		{"SQL that would match all", Filter{Text: `' OR '1'='1`}, ""},
		{"percent stands for itself", Filter{Target: "%"}, "3"},
		{"underscore stands for itself", Filter{Target: "_"}, "3"},
		{"escape character stands for itself", Filter{Target: "!"}, "3"},
		{"escaped wildcard", Filter{Target: "!%"}, ""},
		{"NUL and broken UTF-8", Filter{Text: "\x00\xff"}, ""},
		{"state", Filter{State: policy.RecordingInterrupted}, "3"},
		{"unknown state", Filter{State: "'"}, ""},
		{"from is inclusive", Filter{From: at(2)}, "432"},
		{"to is exclusive", Filter{To: at(2)}, "1"},
		{"from and to", Filter{From: at(2), To: at(4)}, "32"},
		{"limit", Filter{Limit: 2}, "43"},
		{"offset", Filter{Offset: 3}, "1"},
		{"limit and offset", Filter{Limit: 2, Offset: 1}, "32"},
		{"offset past the end", Filter{Limit: 2, Offset: 10}, ""},
		{"user and target", Filter{User: "user 2", Target: "db1"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Recordings(ctx, tt.f)
			if err != nil {
				t.Fatal(err)
			}
			var ids strings.Builder
			for _, r := range got {
				ids.WriteString(strings.TrimLeft(string(r.Session.ID), "0"))
			}
			if ids.String() != tt.want {
				t.Errorf("recordings %q, want %q", ids.String(), tt.want)
			}
		})
	}
	for _, f := range []Filter{{Text: strings.Repeat("%", 50_000)}, {Limit: -1}, {Offset: -1}} {
		if _, err := c.Recordings(ctx, f); err == nil || len(err.Error()) > 200 {
			t.Errorf("a filter out of bounds: %v", err)
		}
	}
}

func TestHugeCommandIsIndexedWithinBounds(t *testing.T) {
	ctx := context.Background()
	c := fresh(t)
	r := recording(1)
	r.Session.Command = strings.Repeat("x", 1<<20)
	if err := c.Begin(ctx, r.Session); err != nil {
		t.Fatal(err)
	}
	got, err := c.Recordings(ctx, Filter{Text: "xxx"})
	if err != nil || len(got) != 1 || got[0].Session.Command != r.Session.Command {
		t.Errorf("%d recordings, %v", len(got), err)
	}
}

// BenchmarkRecordings10k lists a page out of ten thousand recordings.
func BenchmarkRecordings10k(b *testing.B) {
	ctx := context.Background()
	c := fresh(b)
	fill(b, c, 10_000)
	for _, bb := range []struct {
		name string
		f    Filter
	}{
		{"newest", Filter{Limit: 50}},
		{"page100", Filter{Limit: 50, Offset: 5000}},
		{"target", Filter{Target: "db7", Limit: 50}},
		{"rareText", Filter{Text: "00009999", Limit: 50}},
		{"absentText", Filter{Text: "nowhere", Limit: 50}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.Recordings(ctx, bb.f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fill stores n recordings. Durability would only slow it down.
func fill(b *testing.B, c *Catalog, n int) {
	c.db.SetMaxOpenConns(1)
	defer c.db.SetMaxOpenConns(8)
	if _, err := c.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		if err := c.PutRecording(context.Background(), recording(i)); err != nil {
			b.Fatal(err)
		}
	}
}
