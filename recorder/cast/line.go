package cast

import (
	"errors"
	"strconv"
	"time"
)

// Line is one event line on its own, as a block of a sealed recording holds it.
type Line struct {
	Interval time.Duration // the line's own number: version 3's interval, never negative
	Code     Code
	Data     []byte
	Skip     int // the number after the data, -1 where there is none
}

// ParseLine reads one line of version 3 without its line feed. The data is
// appended to buf; Line.Data is that part of the slice returned.
func ParseLine(line, buf []byte) (Line, []byte, error) {
	s := scanner{rest: line}
	interval, code, out, err := s.event(buf)
	if err != nil {
		return Line{}, buf, err
	}
	l := Line{Interval: interval, Code: code, Data: out[len(buf):len(out):len(out)], Skip: -1}
	if s.take(',') {
		if l.Skip = whole(s.number()); l.Skip < 0 {
			return Line{}, buf, errors.New("the number after the data of an event is no whole one")
		}
	}
	if !s.take(']') || !s.end() {
		return Line{}, buf, errors.New("an event is a time, a code and data, then ]")
	}
	return l, out, nil
}

// whole reads a whole number of at most nine digits, and returns -1 where b is
// none.
func whole(b []byte) int {
	if len(b) == 0 || len(b) > 9 || len(b) > 1 && b[0] == '0' {
		return -1
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// AppendLine is AppendEventBytes in version 3 with a number after the data.
func AppendLine(dst []byte, prev, at time.Duration, code Code, data []byte, skip int) []byte {
	dst = AppendEventBytes(dst, 3, prev, at, code, data)
	dst = append(dst[:len(dst)-len("]\n")], ", "...)
	return append(strconv.AppendInt(dst, int64(skip), 10), "]\n"...)
}
