package proxy

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// MaxDimension is the largest number of columns or rows that a recording is
// told of. What the target is told is never changed.
const MaxDimension = 10000

// The size that is recorded for a terminal that does not say its own.
const (
	DefaultCols = 80
	DefaultRows = 24
)

// PTY is the payload of a pty-req request (RFC 4254, section 6.2).
type PTY struct {
	Term                  string
	Cols, Rows            uint32 // characters; zero means that it is not known
	WidthPixel, HighPixel uint32
	Modes                 []byte // encoded terminal modes (section 8), not parsed
}

// ParsePTY reads the payload of a pty-req. Any sizes are accepted, since the
// target gets the payload verbatim; ClampSize makes them fit for a recording.
func ParsePTY(payload []byte) (PTY, error) {
	var m struct {
		Term                string
		Cols, Rows          uint32
		WidthPixel, HighPix uint32
		Modes               string
	}
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return PTY{}, fmt.Errorf("pty-req: %w", err)
	}
	return PTY{m.Term, m.Cols, m.Rows, m.WidthPixel, m.HighPix, []byte(m.Modes)}, nil
}

// ParseWindowChange reads the payload of a window-change (RFC 4254, section
// 6.7): columns and rows in characters. The pixels are left out.
func ParseWindowChange(payload []byte) (cols, rows uint32, err error) {
	var m struct{ Cols, Rows, WidthPixel, HighPixel uint32 }
	if err := ssh.Unmarshal(payload, &m); err != nil {
		return 0, 0, errors.New("window-change: want four numbers of 32 bits")
	}
	return m.Cols, m.Rows, nil
}

// ClampSize returns a size that a recording can hold: at most MaxDimension
// each, and the default where a dimension is zero and so "MUST be ignored"
// (RFC 4254, section 6.2).
func ClampSize(cols, rows uint32) (int, int) {
	return clamp(cols, DefaultCols), clamp(rows, DefaultRows)
}

func clamp(n uint32, zero int) int {
	switch {
	case n == 0:
		return zero
	case n > MaxDimension:
		return MaxDimension
	}
	return int(n)
}
