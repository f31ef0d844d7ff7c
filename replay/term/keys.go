package term

import (
	"context"
	"io"
)

// key is what the viewer pressed.
type key string

// Keys with more than one byte.
const (
	keyLeft  key = "left"
	keyRight key = "right"
	keyUp    key = "up"
	keyDown  key = "down"
)

// readKeys reads keys until in ends or fails, then closes the channel. Its
// goroutine ends then, or with ctx once a key arrives.
func readKeys(ctx context.Context, in io.Reader) <-chan key {
	keys := make(chan key)
	go func() {
		defer close(keys)
		var d keyDecoder
		buf := make([]byte, 64)
		for {
			n, err := in.Read(buf)
			for _, k := range d.decode(buf[:n]) {
				select {
				case keys <- k:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return keys
}

// keyDecoder turns bytes into keys. Arrow keys are ESC [ or ESC O and a letter;
// other sequences are dropped.
type keyDecoder struct{ state byte } // 0, ESC, or '[' inside a sequence

func (d *keyDecoder) decode(p []byte) []key {
	var out []key
	for _, b := range p {
		switch {
		case b == 0x1b:
			d.state = 0x1b
		case d.state == 0x1b && (b == '[' || b == 'O'):
			d.state = '['
		case d.state == '[':
			if b < 0x40 || b > 0x7e {
				continue
			}
			d.state = 0
			if k, ok := map[byte]key{'A': keyUp, 'B': keyDown, 'C': keyRight, 'D': keyLeft}[b]; ok {
				out = append(out, k)
			}
		default:
			d.state = 0
			out = append(out, key([]byte{b}))
		}
	}
	return out
}
