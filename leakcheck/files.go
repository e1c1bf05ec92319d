package leakcheck

// A fileGroup is the checked tests that overlapped.
type fileGroup struct{}

func (s *scope) checkFiles() {}

func (s *scope) endFiles() {}
