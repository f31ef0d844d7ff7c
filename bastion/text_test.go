package bastion

import (
	"errors"
	"fmt"
	"testing"
)

func TestPrintable(t *testing.T) {
	for _, tc := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain text", 20, "plain text"},
		{"a\x1b[31mb\r\nc\x00", 20, "a?[31mb??c?"},
		{"a\u202eb\u200bc\u2028d\u00a0e", 40, "a?b?c?d?e"},
		{"\xff\xfe", 10, "??"},
		{"ünï", 4, "ün..."},
		{"日本", 4, "日..."},
		{"abc", 0, "..."},
		{"", 0, ""},
	} {
		if got := printable(tc.in, tc.max); got != tc.want {
			t.Errorf("%q, %d: %q, want %q", tc.in, tc.max, got, tc.want)
		}
	}
}

func TestUserMessage(t *testing.T) {
	if s, ok := userMessage(fmt.Errorf("at 10.0.0.1: %w", refusal("Say\nthis."))); !ok || s != "Say?this." {
		t.Errorf("%q %v", s, ok)
	}
	if s, ok := userMessage(errors.New("internal")); ok {
		t.Errorf("%q was shown", s)
	}
}
