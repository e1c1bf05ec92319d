// Package mapper has the name of the package that is tested.
package mapper

// A Thing is a type to map.
type Thing struct{ Title string }

// An Opaque holds a type that only this package can name.
type Opaque struct{ In inner }

type inner struct{ f func() }
