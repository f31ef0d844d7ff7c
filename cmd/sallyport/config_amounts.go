package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Lifetime is how long something is kept: whole days such as 90d, or a
// duration such as 12h. Zero is for ever.
type Lifetime time.Duration

func (l *Lifetime) setText(s string) error {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.ParseUint(n, 10, 16); err == nil && days > 0 {
			*l = Lifetime(time.Duration(days) * 24 * time.Hour)
			return nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("want days such as 90d, or a duration such as 12h, found %q", s)
	}
	*l = Lifetime(d)
	return nil
}

// Space is an amount of a disk: bytes, or a part of its size.
type Space struct {
	bytes   int64
	percent float64
	least   bool // the smaller of the two; otherwise only one is set
	given   bool // in the file
}

var spaceUnits = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"%", 0}}

func (a *Space) setText(s string) error {
	bad := fmt.Errorf("want a size such as 512MiB or 2GiB, or a part such as 5%%, found %q", s)
	for _, u := range spaceUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || !(n >= 0) || n > 1e9 || u.size == 0 && n > 100 || n*u.size > math.MaxInt64/2 {
			return bad
		}
		*a = Space{given: true}
		if u.size == 0 {
			a.percent = n
		} else {
			a.bytes = int64(n * u.size)
		}
		return nil
	}
	if s != "0" {
		return bad
	}
	*a = Space{given: true}
	return nil
}

// limit is the amount in bytes on a disk of total bytes.
func (a Space) limit(total int64) int64 {
	part := int64(float64(total) / 100 * a.percent)
	if a.least {
		return min(part, a.bytes)
	}
	return max(part, a.bytes)
}

func (a Space) String() string {
	size := sizeText(a.bytes)
	part := strconv.FormatFloat(a.percent, 'g', -1, 64) + "%"
	switch {
	case a.least:
		return "the smaller of " + size + " and " + part
	case a.percent > 0:
		return part
	}
	return size
}

// sizeText shows n bytes to people, with three digits.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if f >= 100 || f == math.Trunc(f) {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
