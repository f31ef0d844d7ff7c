// Package term plays a recording in a terminal.
package term

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"sallyport/recorder/cast"
)

// Source is a recording. Next returns events in order, then io.EOF, or an
// error that wraps cast.ErrTruncated where the recording is cut off. Rewind
// starts again at the first event.
type Source interface {
	Header() cast.Header
	Next() (cast.Event, error)
	Rewind() error
}

// Options say how to play.
type Options struct {
	// In are the viewer's keys, in raw mode; nil plays straight through.
	In  io.Reader
	Out io.Writer
	// Cols and Rows are the size of the viewer's terminal; 0 when unknown.
	Cols, Rows int
	Resize     <-chan [2]int // optional; columns and rows
	Speed      float64       // 0 means 1
	IdleLimit  time.Duration // longest pause; 0 means none
	From       time.Duration // where to begin
	// Length is how long the recording is, for percentages; 0 means that it
	// is found out when it is needed.
	Length time.Duration
	// LineFeeds gives each line feed the carriage return that a recording
	// without a terminal lacks and a raw terminal needs.
	LineFeeds bool
	// Now and After are the clock; time.Now and time.After when nil.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// The speeds that keys can choose, and the highest that Options can.
const (
	minSpeed  = 0.25
	maxSpeed  = 16
	mostSpeed = 1000
)

// outBuffer collects what is shown at once, in bytes.
const outBuffer = 32 << 10

// Play plays src until it ends, the viewer quits, or ctx is done, and leaves
// the terminal as it was. With keys it stays at the end until the viewer quits.
// The error wraps cast.ErrTruncated when a recording without keys is cut off,
// and is ctx's cause when ctx ended it.
func Play(ctx context.Context, src Source, o Options) (err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if !(o.Speed > 0 && o.Speed <= mostSpeed) {
		return errors.New("the speed is a number above 0, up to 1000")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the reader of keys
	p := &player{ctx: ctx, o: o, src: src, w: bufio.NewWriterSize(o.Out, outBuffer), speed: o.Speed, at: o.Now()}
	p.noteSize(src.Header().Cols, src.Header().Rows)
	defer func() {
		p.leave()
		err = errors.Join(err, p.w.Flush())
	}()
	if o.In != nil {
		p.keys = readKeys(ctx, o.In)
		p.out(clearScreen)
	}
	if o.From > 0 {
		if err := p.seek(o.From); err != nil {
			return err
		}
	}
	p.say()
	return p.run()
}
