//go:build !unix

package ledger

import "os"

// lock does nothing: elsewhere one process alone may use a ledger.
func lock(*os.File) error { return nil }

func unlock(*os.File) {}
