package safe

import "github.com/leaksafe/leaksafe/pool"

// Outstanding returns the leases of the service's pool that have not ended.
func (s *Service) Outstanding() []pool.Finding { return s.bodies.Outstanding() }
