package web

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

func TestPlayerScript(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SALLYPORT_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("node is not installed")
	}
	if out, err := exec.Command(node, "--test", "frontend/src/").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestLockfileNamesNoHost keeps the lock file usable with every registry.
func TestLockfileNamesNoHost(t *testing.T) {
	lock, err := os.ReadFile("frontend/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`"resolved"|"[a-z]+://[^"]*\.tgz`).Find(lock); m != nil {
		t.Errorf("package-lock.json has %s", m)
	}
}
