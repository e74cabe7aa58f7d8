# cmake -DOUT=embedded.c -DHEADER=launch/.../embedded.h "-DFILES=name;file;name;file..." -P embed.cmake: each file as an array of characters, ended by NUL.
set(text "#include \"${HEADER}\"\n")
while(FILES)
  list(POP_FRONT FILES name file)
  file(READ ${file} content)
  string(REGEX REPLACE "//# sourceMappingURL=[^\n]*" "" content "${content}") # the page has nothing beside it to ask for
  string(REGEX REPLACE "/\\*# sourceMappingURL=[^*]*\\*/" "" content "${content}")
  string(HEX "${content}" bytes)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "(char)0x\\1," bytes "${bytes}")
  string(APPEND text "const char ${name}[] = {${bytes}0};\n")
endwhile()
file(WRITE ${OUT} "${text}")
