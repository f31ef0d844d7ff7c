package web

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"sallyport/policy"
	"sallyport/recorder/catalog"
)

const maxQueryText = 200 // bytes of one search field

// search is what somebody looks for: the fields of the form as they were
// typed, and what they mean.
type search struct {
	User, Target, From, To, State, Text string
	filter                              catalog.Filter
}

// parseSearch reads the fields user, target, from, to, state and q. On an
// error the fields typed are returned nevertheless, to be shown again.
func parseSearch(q url.Values) (search, error) {
	s := search{
		User: q.Get("user"), Target: q.Get("target"), From: q.Get("from"),
		To: q.Get("to"), State: q.Get("state"), Text: q.Get("q"),
	}
	for _, f := range []*string{&s.User, &s.Target, &s.From, &s.To, &s.State, &s.Text} {
		if len(*f) > maxQueryText {
			*f = ""
			return s, fmt.Errorf("a search field may have at most %d bytes", maxQueryText)
		}
	}
	s.filter = catalog.Filter{User: s.User, Target: s.Target, Text: s.Text}
	var err error
	if s.filter.From, err = parseTime(s.From, 0); err != nil {
		return s, err
	}
	if s.filter.To, err = parseTime(s.To, 24*time.Hour); err != nil {
		return s, err
	}
	switch st := policy.RecordingState(s.State); st {
	case "", policy.RecordingOpen, policy.RecordingComplete, policy.RecordingInterrupted:
		s.filter.State = st
	default:
		s.State = ""
		return s, errors.New("a state is one of open, complete and interrupted")
	}
	return s, nil
}

// parseTime reads RFC 3339, or what forms send: a date with or without a time,
// meant as UTC. A bare date gets day added, so that "to" takes in its last day.
func parseTime(s string, day time.Duration) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.Add(day), nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339Nano} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("a time is written like 2026-01-31 or 2026-01-31T15:04, in UTC")
}

// values returns the fields as a query, for links to other pages of the list.
func (s search) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{
		"user": s.User, "target": s.Target, "from": s.From, "to": s.To, "state": s.State, "q": s.Text,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	return v
}

// Active reports whether any field is filled in.
func (s search) Active() bool { return len(s.values()) > 0 }

// number reads the parameter name, a whole number from low to high.
func number(q url.Values, name string, fallback, low, high int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return fallback, fmt.Errorf("the parameter %s is a number from %d to %d", name, low, high)
	}
	return n, nil
}
