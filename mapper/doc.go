// Package mapper maps values of one type to values of another, a DTO to an
// entity and back, by a plan that is compiled once for the pair of types.
package mapper
