// A glass ball that circles a checkered table. clock goes from 0 to 1, once around.
#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 8 }

camera { location <0, 3, -7> look_at <0, 0.8, 0> }
light_source { <-10, 20, -15> color rgb 1 area_light <4, 0, 0>, <0, 0, 4>, 4, 4 adaptive 1 jitter }
background { color rgb <0.55, 0.7, 0.9> }

plane {
  y, 0
  pigment { checker color rgb 0.9 color rgb <0.25, 0.3, 0.45> }
  finish { reflection 0.1 }
}
sphere {
  <2 * cos(2 * pi * clock), 0.9, 2 * sin(2 * pi * clock)>, 0.9
  pigment { color rgbt <0.95, 0.98, 1, 0.9> }
  finish { specular 0.8 roughness 0.002 reflection { 0.05, 0.9 fresnel } conserve_energy }
  interior { ior 1.5 }
}
cylinder { <0, 0, 0>, <0, 1.6, 0>, 0.5 pigment { color rgb <0.8, 0.25, 0.15> } finish { phong 0.6 } }
