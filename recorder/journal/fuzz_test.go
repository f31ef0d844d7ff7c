package journal

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead reads hostile bytes as a file: it never panics, and whatever it gives
// back carries the key's authentication.
func FuzzRead(f *testing.F) {
	whole := fixed(f, 4)[1]
	f.Add(whole, int64(0))
	f.Add(whole, int64(1<<10))
	f.Add(whole[:headerSize+linkSize+80], int64(0))
	f.Add(whole[:80], int64(80))
	f.Add(append(bytes.Clone(whole[:headerSize]), bytes.Repeat([]byte{0, 0, 1}, 300)...), int64(0))
	f.Add(append(make([]byte, 300), whole...), int64(0))
	f.Add([]byte(magic), int64(-1))
	f.Fuzz(func(t *testing.T, data []byte, until int64) {
		if len(data) > 1<<16 {
			return
		}
		var last LSN
		damaged, err := read(data, 2, until, func(r Record, at LSN) error {
			if string(r.Data) != "some data" || at <= last || int(uint64(at)&(1<<offsetBits-1)) > len(data) {
				t.Fatalf("record %d at %x after %x: %q", r.Seq, uint64(at), uint64(last), r.Data)
			}
			last = at
			return nil
		})
		for _, d := range damaged {
			if d.Err == nil || d.Offset < 0 || d.Offset > int64(len(data)) || d.Until != 0 && d.Until <= d.Offset && d.Offset >= headerSize {
				t.Errorf("damage %+v", d)
			}
		}
		_ = err
	})
}

// FuzzDamage does to a journal what its input says: flips, zeros, cuts, swaps.
// What comes back is what was written, in order; and what is gone from a file
// that the journal had left behind is named.
func FuzzDamage(f *testing.F) {
	files := fixed(f, 4)
	for op := range byte(5) {
		for file := range byte(len(files)) {
			f.Add([]byte{op, file, 1, 44, 9})
			f.Add([]byte{op, file, 0, 30, 200, op + 1, file + 1, 4, 4, 50})
		}
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		dir := t.TempDir()
		now := make([][]byte, len(files))
		for i := range files {
			now[i] = bytes.Clone(files[i])
		}
		for ; len(ops) >= 5; ops = ops[5:] {
			hurt(now, ops)
		}
		changed := 0 // files that must be whole and are not
		some := false
		for i, data := range now {
			if data != nil {
				put(t, dir, uint64(i+1), data)
			}
			if i < len(now)-1 && bytes.HasPrefix(now[i+1], files[i+1][:headerSize+linkSize]) &&
				(data != nil || some) && !bytes.HasPrefix(data, bytes.TrimRight(files[i], "\x00")) {
				changed++
			}
			some = some || data != nil
		}
		replayHurt(t, dir, changed)
	})
}

// fixed makes the files of one run, each of 25 records, with salts that are
// always the same.
func fixed(t testing.TB, n int) [][]byte {
	t.Helper()
	var files [][]byte
	seq, end := uint64(0), int64(0)
	for number := uint64(1); number <= uint64(n); number++ {
		salt := bytes.Repeat([]byte{byte(number)}, 32)
		aead, check, err := fileKey([32]byte{}, number, salt)
		if err != nil {
			t.Fatal(err)
		}
		f := &file{number: number, aead: aead}
		data := appendHeader(number, salt, check)
		if number > 1 {
			data = f.sealLink(data, number-1, end)
		}
		for range 25 {
			data = f.seal(data, int64(len(data)), Record{Seq: seq, Data: []byte("some data")})
			seq++
		}
		end = int64(len(data))
		files = append(files, append(data, make([]byte, 2<<10-len(data))...))
	}
	return files
}

// hurt does one operation of FuzzDamage.
func hurt(files [][]byte, op []byte) {
	at := int(binary.BigEndian.Uint16(op[2:]))
	i := int(op[1]) % len(files)
	data := files[i]
	if len(data) == 0 {
		return
	}
	at %= len(data)
	switch op[0] % 5 {
	case 0:
		data[at] ^= op[4]
	case 1:
		clear(data[at:min(len(data), at+int(op[4]))])
	case 2:
		files[i] = data[:at]
	case 3:
		other := files[(i+1)%len(files)]
		copy(data[at:min(len(data), at+int(op[4]))], other[min(at, len(other)):])
	case 4:
		files[i] = nil
	}
}

func replayHurt(t *testing.T, dir string, changed int) {
	j, err := Open(Options{Dir: dir, FileSize: 2 << 10, NoSync: true})
	if err != nil {
		return // a header now says another key, or another version
	}
	defer j.Close()
	last := -1
	damaged, err := j.Replay(func(r Record, _ LSN) error {
		if int(r.Seq) <= last || string(r.Data) != "some data" {
			t.Errorf("record %d after %d: %q", r.Seq, last, r.Data)
		}
		last = int(r.Seq)
		return nil
	})
	if err != nil {
		t.Errorf("opened, but: %v", err)
	}
	if changed > 0 && len(damaged) == 0 {
		all, _ := os.ReadDir(dir)
		t.Errorf("%d files of %v were damaged, and nobody says so", changed, all)
	}
	for _, d := range damaged {
		if d.Err == nil || filepath.Dir(d.File) != dir {
			t.Errorf("damage %+v", d)
		}
	}
}
